"""Prints a message when the process ends without running Python, as after an abort."""

import contextlib
import subprocess
from collections.abc import Iterator


@contextlib.contextmanager
def last_words(message: str) -> Iterator[None]:
    """Print a message on standard error if the process ends within the `with` block.

    A library that aborts, or a system without memory, ends the process without running Python. A
    shell therefore waits for a line from a pipe, which closes whenever the process ends.
    """
    shell = witness(message)
    try:
        yield
    finally:
        shell.communicate(b"\n")


def witness(message: str) -> subprocess.Popen[bytes]:
    """Start a shell that prints a message if this process ends before it sends the shell a line."""
    return subprocess.Popen(
        ["sh", "-c", 'read -r line || echo "$0" >&2', message],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in a terminal must reach only this process
    )
