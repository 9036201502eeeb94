"""Runs a function in a child process with limits, and returns the outcome."""

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
    """The outcome of a call.

    Attributes:
      happened: `READ`, `REFUSED` (a UserError) or `FAILED` (any other error, a signal, or too much
        time or memory).
      message: The returned value, or the first line of the error.
      seconds: Wall time.
      peak_mb: Peak resident memory of the process in MiB.
    """

    happened: str
    message: str
    seconds: float
    peak_mb: int


def in_child(
    function: Callable[[], Any], *, seconds: float, memory_mb: int, address_mb: int
) -> Outcome:
    """Fork, call `function` in the child, and wait.

    Args:
      function: The function to call; its result becomes the message.
      seconds: Time limit, after which the child is killed.
      memory_mb: Limit of resident memory, checked at the end.
      address_mb: Limit of the address space, which the kernel enforces.
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
    """Return the first line of an error, with its type unless it is a UserError."""
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
