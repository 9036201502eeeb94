"""The clock of the training loop: rates without compilation and pauses, and waiting for data."""

import pytest

from netzoo.training import clock as module
from netzoo.training.clock import Clock


@pytest.fixture
def now(monkeypatch):
    """A list with the present time, in seconds."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_rates_leave_out_compilation_and_pauses(now):
    """Protects reported speeds: 30 images in 6 of 25 s, with 3 of these 6 s spent waiting."""
    clock = Clock()
    now[0] += 10  # the first step compiles
    clock.step_done(99)
    for _ in range(3):
        with clock.waiting():
            now[0] += 1
        now[0] += 1
        clock.step_done(10)
    with clock.paused():
        now[0] += 9
    assert clock.rates() == (30 / 6, 3 / 6)
    assert clock.elapsed() == 25
    now[0] += 2
    clock.step_done(8)
    assert clock.rates() == (8 / 2, 0), "each interval starts anew"


def test_an_interval_without_time_has_a_rate(now):
    """Protects from a division by zero at log steps that follow a pause."""
    clock = Clock()
    assert clock.rates() == (0, 0)
