"""Times of calls that are to be compared."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from netzoo.progress import track


def interleaved_times(
    calls: Mapping[str, Callable[[], Any]],
    rounds: int,
    description: str = "timing",
    warm_up: int = 1,
) -> dict[str, np.ndarray]:
    """Return the milliseconds of each call, `[rounds]`, by its name.

    The calls take turns, so that a busy moment of the machine does not slow down only one of them.
    Compare medians. Every call first runs `warm_up` times untimed, because it may compile.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(warm_up):
            jax.block_until_ready(call())
    for _ in track(range(rounds), description):
        for name, call in calls.items():
            began = time.perf_counter()
            jax.block_until_ready(call())
            times[name].append(1000 * (time.perf_counter() - began))
    return {name: np.array(values) for name, values in times.items()}
