"""How much memory a file of weights may take."""

from pathlib import Path

from netzoo.errors import UserError

# Weights hardly compress: what unpacks to more than this many times its size is no weights, from
# this many bytes on.
MOST_TIMES, ALWAYS_ALLOWED = 100, 1 << 28


def most_bytes(path: Path) -> int:
    """Returns how many bytes of numbers a file may hold."""
    return max(ALWAYS_ALLOWED, MOST_TIMES * path.stat().st_size)


def check_unpacked(path: Path, size: int) -> None:
    """Checks the bytes that a file claims to hold, before memory is taken for them.

    Raises:
      UserError: It is a decompression bomb.
    """
    if size > most_bytes(path):
        there = path.stat().st_size
        raise UserError(
            f"{path} has {there:,} bytes and claims to hold {size:,} bytes of numbers, over "
            f"{MOST_TIMES} times as many; nothing was read. It is damaged or hostile: fetch it anew"
        )
