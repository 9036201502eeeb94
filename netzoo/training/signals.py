"""The signals and notices that stop training after a checkpoint."""

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable
from typing import Any

import jax

from netzoo import mesh as meshes
from netzoo.training import preemption

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

    A notice that the machine is about to end (`netzoo.training.preemption`) counts as SIGTERM. The
    system then sends a signal too, and every process of a preempted job gets one. A signal is
    therefore the second one only after another signal to this process, not after a notice or a
    signal to another process.

    Leaving the context restores the previous handlers. Python delivers signals only to its main
    thread, so they do not stop training in another thread.

    Attributes:
      signal: The number of the signal; None before the first.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}
        self._received, self._closed = False, threading.Event()

    def listen(self, announce: Callable[[str], None]) -> None:
        """Start to handle signals and notices; `announce` prints a line."""
        self._announce = announce
        preemption.watch(self.notice, self._closed)
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                # `nohup` makes the process ignore SIGHUP, so that training continues without its
                # terminal.
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self.handle)

    def __exit__(self, *exc_info: object) -> None:
        self._closed.set()
        for number, handler in self._before.items():
            # None is a handler from outside Python, which cannot be restored.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def handle(self, number: int, frame: object) -> None:
        """Record a signal; end the process at the second."""
        if self._received:
            os._exit(128 + number)
        self._received, self.signal = True, self.signal or number
        if number == signal.SIGHUP:
            _leave_closed_terminal()
        self._announce("stopping after this batch; a second signal stops at once")

    def notice(self, text: str) -> None:
        """Record a notice as SIGTERM, in any thread; `text` says what happens to the machine."""
        self.signal = self.signal or signal.SIGTERM
        self._announce(f"{text}; stopping after this batch")

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
