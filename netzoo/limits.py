"""Limits the unpacked size of untrusted files."""

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
