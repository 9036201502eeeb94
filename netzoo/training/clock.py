"""Measures the time of the training loop."""

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """Measures the training rate and the share of time spent waiting for data.

    Evaluation, checkpoints (see `paused`) and the first step, which compiles, do not count.
    """

    def __init__(self) -> None:
        """Start the clock."""
        self._started = time.monotonic()
        self._compiled = False
        self._restart()

    def _restart(self) -> None:
        self._count, self._waited, self._interval_start = 0, 0.0, time.monotonic()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time in the `with` block as waiting for data."""
        began = time.monotonic()
        yield
        self._waited += time.monotonic() - began

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time in the `with` block."""
        began = time.monotonic()
        yield
        self._interval_start += time.monotonic() - began

    def step_done(self, count: int) -> None:
        """Add a step on `count` units of throughput, e.g. images."""
        if self._compiled:
            self._count += count
        else:
            self._compiled = True
            self._restart()

    def rates(self) -> tuple[float, float]:
        """Return units per second and the share of waiting since the last call."""
        seconds = max(time.monotonic() - self._interval_start, 1e-9)
        result = self._count / seconds, self._waited / seconds
        self._restart()
        return result

    def elapsed(self) -> float:
        """Return the seconds since the start, including pauses."""
        return time.monotonic() - self._started
