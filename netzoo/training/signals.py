"""The signals that stop training after a checkpoint."""

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable
from typing import Any

import jax

from netzoo import mesh as meshes

# Sent by a user, a closing terminal, or a scheduler before it ends a job.
SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGXCPU,
)


class StopSignal(contextlib.AbstractContextManager):
    """Records the first of `SIGNALS`; a second one ends the process at once.

    Leaving the context restores the previous handlers. Python delivers signals only to its main
    thread, so they do not stop training in another thread.

    Attributes:
      signal: The number of the signal; None before the first.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def listen(self, announce: Callable[[str], None]) -> None:
        """Start to handle the signals; `announce` prints a line."""
        self._announce = announce
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                # `nohup` makes the process ignore SIGHUP, so that training continues without its
                # terminal.
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self.handle)

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._before.items():
            # None is a handler from outside Python, which cannot be restored.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def handle(self, number: int, frame: object) -> None:
        """Record a signal; end the process at the second."""
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
        if number == signal.SIGHUP:
            _leave_closed_terminal()
        self._announce("stopping after this batch; a second signal stops at once")

    def agreed(self, logging: bool) -> bool:
        """Return whether the run ends after this batch; all processes agree.

        A signal may reach only some processes, or reach them at different batches, and a process
        that continued alone would wait forever. The processes therefore communicate when `logging`.
        """
        if jax.process_count() > 1:
            if not logging:
                return False
            agreed = meshes.largest(self.signal or 0)
            if agreed:  # otherwise keep a signal that arrived meanwhile for the next agreement
                self.signal = agreed
            return agreed > 0
        return self.signal is not None


def _leave_closed_terminal() -> None:
    """Discard the output if its terminal or pipe is closed, because printing would fail."""
    for descriptor in (1, 2):
        poll = select.poll()
        poll.register(descriptor, 0)
        if any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0)):
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
