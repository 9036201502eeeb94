"""Where the time of the training loop goes."""

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """Measures the rate of training and the share of it that is spent waiting for data.

    Evaluation and checkpoints do not count: `paused` stops the watch. The first step, which
    compiles, does not count either.
    """

    def __init__(self):
        """Starts the watch."""
        self._born = time.monotonic()
        self._compiled = False
        self._restart()

    def _restart(self) -> None:
        self._units, self._waited, self._began = 0, 0.0, time.monotonic()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time inside as waiting for data."""
        began = time.monotonic()
        yield
        self._waited += time.monotonic() - began

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves the time inside out."""
        began = time.monotonic()
        yield
        self._began += time.monotonic() - began

    def step_done(self, units: int) -> None:
        """Counts a step that took `units` in, say images."""
        if self._compiled:
            self._units += units
        else:
            self._compiled = True
            self._restart()

    def rates(self) -> tuple[float, float]:
        """Returns units a second and the waiting share since the last call, and starts anew."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        result = self._units / seconds, self._waited / seconds
        self._restart()
        return result

    def elapsed(self) -> float:
        """Returns the seconds since the watch was made, pauses included."""
        return time.monotonic() - self._born
