"""Runs a function in a child process with limits, and says what became of it."""

import os
import pickle
import resource
import select
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from netzoo.errors import UserError

READ, REFUSED, FAILED = "read", "refused", "FAILED"
MIB = 1 << 20


class Outcome(NamedTuple):
    """What became of a call.

    Attributes:
      happened: `READ`, `REFUSED` (an error for users) or `FAILED`: anything else, a signal and
        the limits of time and memory included.
      message: What was returned, or the first line of the error.
      seconds: Of wall time.
      peak_mb: Largest resident memory of the process, MiB.
    """

    happened: str
    message: str
    seconds: float
    peak_mb: int


def in_child(
    function: Callable[[], Any], *, seconds: float, memory_mb: int, address_mb: int
) -> Outcome:
    """Forks, calls `function`, and waits.

    Args:
      function: Called in the child; what it returns is shown.
      seconds: It may take; then it is killed.
      memory_mb: Resident memory that it may have taken at most.
      address_mb: Address space that it may take at all.
    """
    reading, writing = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _call(function, writing, address_mb)
    os.close(writing)
    timed_out = not _wait(reading, seconds)
    if timed_out:
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status, usage = os.wait4(child, 0)
    took, peak = time.monotonic() - began, usage.ru_maxrss // 1024
    if timed_out:
        return Outcome(FAILED, f"took more than {seconds:g} s", took, peak)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return Outcome(FAILED, f"killed by {name}", took, peak)
    happened, message = pickle.loads(answer)
    if peak > memory_mb:
        return Outcome(FAILED, f"took more than {memory_mb:,} MiB; {message}", took, peak)
    return Outcome(happened, message, took, peak)


def first_line(error: BaseException) -> str:
    """Returns the first line of an error, with its type where it is not one for users."""
    text = (str(error).strip().splitlines() or [""])[0]
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def _call(function: Callable[[], Any], pipe: int, address_mb: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (address_mb * MIB, address_mb * MIB))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer = READ, str(function())
    except UserError as error:
        answer = REFUSED, first_line(error)
    except BaseException as error:
        answer = FAILED, first_line(error)
    os.write(pipe, pickle.dumps((answer[0], answer[1][:2000])))
    os._exit(0)


def _wait(pipe: int, seconds: float) -> bool:
    return bool(select.select([pipe], [], [], seconds)[0])
