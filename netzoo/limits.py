"""Guards against untrusted files: limits their unpacked size, and reports a crash of netzoo."""

import contextlib
import subprocess
from collections.abc import Iterator

from netzoo.errors import UserError

# Weights hardly compress, and text compresses at most tenfold. A file that exceeds both MAX_RATIO
# and ALWAYS_ALLOWED bytes is neither.
MAX_RATIO, ALWAYS_ALLOWED = 20, 1 << 28


def max_unpacked(size: int) -> int:
    """Return the maximum unpacked size of a file of `size` bytes."""
    return max(ALWAYS_ALLOWED, MAX_RATIO * size)


def check_unpacked(size: int, unpacked: int) -> None:
    """Check the unpacked size that a file of `size` bytes declares, before allocating memory.

    Raises:
      UserError: The file is a decompression bomb; the caller adds its name.
    """
    if unpacked > max_unpacked(size):
        raise UserError(
            f"it has {size:,} bytes and claims to hold {unpacked:,} bytes of numbers, over "
            f"{MAX_RATIO} times as many; nothing was read. It is damaged or hostile: get it again"
        )


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
