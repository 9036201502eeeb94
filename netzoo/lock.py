"""Locks (`flock`) among the processes of a machine; the kernel releases them when a process ends.

Among machines that share a file system, the locks work if the file system supports them.
"""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from netzoo.errors import note
from netzoo.files import appending, read_text

_SIGNATURE = "process "


def try_lock(path: Path, advice: str) -> IO[bytes] | None:
    """Lock a file and write this process's name into it.

    Args:
      path: The file, created if it is missing.
      advice: What to do on a file system without locks; for a warning.

    Returns:
      The file, which unlocks when closed, or None if another process holds the lock. On a file
      system without locks, the function prints a warning and returns the file.

    Raises:
      OSError: The folder is not writable.
    """
    # Open for appending: the file names the holder until this process has the lock.
    file = appending(path)
    try:
        _lock(file, advice, wait=False)
    except BlockingIOError:
        file.close()
        return None
    _sign(file)
    return file


def holder(path: Path) -> str:
    """Return the process that last wrote its name into a lock file."""
    with contextlib.suppress(FileNotFoundError):
        return read_text(path).strip()[:100] or "another process"
    return "another process"


def is_lock(path: Path) -> bool:
    """Return whether a file is a lock file, by its contents."""
    with contextlib.suppress(OSError):
        text = read_text(path)
        return not text or text.startswith(_SIGNATURE)
    return False


@contextlib.contextmanager
def one_at_a_time(path: Path, work: str) -> Iterator[bool]:
    """Let one process of the machine at a time into the `with` block; the others wait.

    A process that has waited should first check whether the previous one has done the work.

    Args:
      path: The lock file, which exists only while a process is in the block.
      work: What the block does, for a notice of the processes that wait.

    Yields:
      Whether a process was killed in the block.

    Raises:
      OSError: The folder is not writable.
    """
    while True:
        with appending(path) as file:
            advice = f"run only one process at a time when {work}"
            try:
                locked = _lock(file, advice, wait=False)
            except BlockingIOError:
                note(f"{work}: waiting for {holder(path)}")
                locked = _lock(file, advice, wait=True)
            # Otherwise the process that held the lock has finished, and removed this file.
            if _is_file(path, file):
                killed = locked and os.fstat(file.fileno()).st_size > 0
                _sign(file)
                try:
                    yield killed
                finally:
                    path.unlink(missing_ok=True)
                return


def _lock(file: IO[bytes], advice: str, *, wait: bool) -> bool:
    """Lock a file; return False, after a warning, on a file system without locks.

    Raises:
      BlockingIOError: Another process holds the lock, and `wait` is off.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError as error:
        note(f"{file.name} cannot be locked ({error.strerror}): {advice}")
        return False
    return True


def signature() -> str:
    """Return the name of this process for a lock."""
    return f"{_SIGNATURE}{os.getpid()} on {socket.gethostname()}"


def _sign(file: IO[bytes]) -> None:
    file.truncate(0)
    file.write(f"{signature()}\n".encode())
    file.flush()


def _is_file(path: Path, file: IO[bytes]) -> bool:
    """Return whether `path` still names an open file."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
