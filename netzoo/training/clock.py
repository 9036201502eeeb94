"""Measures where the time of the training loop goes."""

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """Measures the rate of training and the share of it that is spent waiting for data.

    Evaluation, checkpoints (see `paused`) and the first step, which compiles, are left out.
    """

    def __init__(self) -> None:
        """Starts the watch."""
        self._started = time.monotonic()
        self._compiled = False
        self._restart()

    def _restart(self) -> None:
        self._count, self._waited, self._interval_start = 0, 0.0, time.monotonic()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time inside as waiting for data."""
        began = time.monotonic()
        yield
        self._waited += time.monotonic() - began

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves out the time inside."""
        began = time.monotonic()
        yield
        self._interval_start += time.monotonic() - began

    def step_done(self, count: int) -> None:
        """Adds a step that trained on `count` of what throughput is counted in, say images."""
        if self._compiled:
            self._count += count
        else:
            self._compiled = True
            self._restart()

    def rates(self) -> tuple[float, float]:
        """Returns the count per second and the share of waiting, both since the last call."""
        seconds = max(time.monotonic() - self._interval_start, 1e-9)
        result = self._count / seconds, self._waited / seconds
        self._restart()
        return result

    def elapsed(self) -> float:
        """Returns the seconds since the start, pauses included."""
        return time.monotonic() - self._started
