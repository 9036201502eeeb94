"""How much memory a file from outside may take when it is unpacked."""

from pathlib import Path

from netzoo.errors import UserError

# Weights hardly compress, and text tenfold at most. A file that unpacks to more than this many
# times its size, and to more than this many bytes, holds neither.
MAX_RATIO, ALWAYS_ALLOWED = 100, 1 << 28


def max_unpacked(size: int) -> int:
    """Returns how many bytes a file of `size` bytes may unpack to."""
    return max(ALWAYS_ALLOWED, MAX_RATIO * size)


def check_unpacked(path: Path, unpacked: int) -> None:
    """Checks the bytes of numbers that a file claims to hold, before memory is taken for them.

    Raises:
      UserError: The file is a decompression bomb; the caller names it.
    """
    size = path.stat().st_size
    if unpacked > max_unpacked(size):
        raise UserError(
            f"it has {size:,} bytes and claims to hold {unpacked:,} bytes of numbers, over "
            f"{MAX_RATIO} times as many; nothing was read. It is damaged or hostile: fetch it anew"
        )
