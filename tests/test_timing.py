"""Times of calls that take turns."""

import itertools

import numpy as np

from netzoo import timing
from netzoo.timing import interleaved_times


def test_the_calls_take_turns_after_a_first_run_without_the_clock(monkeypatch):
    order, now = [], itertools.count()
    # The clock shows 0, 1, 2, ... seconds: every timed call takes one.
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(now)))
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    times = interleaved_times(calls, 3)
    assert order == list("ab") * 4
    assert set(times) == {"a", "b"}
    for values in times.values():
        np.testing.assert_array_equal(values, [1000, 1000, 1000])


def test_calls_run_untimed_until_they_are_warm():
    ran = []
    assert len(interleaved_times({"a": lambda: ran.append(1)}, 2, warm_up=3)["a"]) == 2
    assert len(ran) == 5
