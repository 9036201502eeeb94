"""Reads files that nobody vouches for, and writes names that nobody chose for a terminal."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from netzoo.errors import UserError

MAX_BYTES = 1 << 29  # of one image file; the largest that can be decoded has 89 million pixels
# Of the machine or its disk, not of the file: to go on without the file would hide them.
_NOT_OF_THE_FILE = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


class ImageError(UserError):
    """Bytes that are not a whole, readable image; the message names the file and the reason."""


def printable(name: str) -> str:
    """Returns a name with what would steer a terminal, or is no text, written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def open_file(path: str | os.PathLike[str], name: str) -> BinaryIO:
    """Opens a regular file of at most `MAX_BYTES`, and waits for nothing.

    Args:
      path: The file.
      name: Its name in error messages.

    Raises:
      ImageError: It is not there, may not be read, is too large, or is no regular file.
      UserError: The machine or its disk failed.
    """
    try:
        # Without the flag a FIFO without a writer would be waited for, for ever.
        file = open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK))  # noqa: SIM115
    except OSError as error:
        raise _cannot_read(name, error) from error
    status = os.fstat(file.fileno())
    reason = None
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        reason = f"it is {kind}, expected a file"
    elif status.st_size > MAX_BYTES:
        reason = f"it has {status.st_size:,} bytes, over the limit of {MAX_BYTES:,}"
    if reason:
        file.close()
        raise ImageError(f"Cannot read {printable(name)}: {reason}.")
    return file


def read_file(path: str | os.PathLike[str], name: str) -> bytes:
    """Returns the bytes of a file; raises as `open_file`."""
    with open_file(path, name) as file:
        try:
            return file.read(os.fstat(file.fileno()).st_size)
        except OSError as error:
            raise _cannot_read(name, error) from error


def files_below(folder: Path) -> list[Path]:
    """Returns everything below a folder that is no folder, links that lead nowhere included.

    Links to folders are not followed, so that no circle is.
    """
    return [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]


def _cannot_read(name: str, error: OSError) -> UserError:
    kind = UserError if error.errno in _NOT_OF_THE_FILE else ImageError
    return kind(f"Cannot read {printable(name)}: {error.strerror or error}.")
