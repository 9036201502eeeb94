"""Reads files from unknown sources."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from netzoo.errors import UserError, printable

MAX_BYTES = 1 << 29  # of one image file; the largest that can be decoded has 89 million pixels
# Errors of the machine or its disk, not of the file: going on without the file would hide them.
_MACHINE_ERRORS = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}


class ImageError(UserError):
    """Bytes that are not a whole, readable image; the message names the file and the reason."""


def open_file(path: str | os.PathLike[str], name: str) -> BinaryIO:
    """Opens a regular file of at most `MAX_BYTES`, without waiting; `name` is for error messages.

    Raises:
      ImageError: It is missing, unreadable, too large, or not a regular file.
      UserError: The machine or its disk failed.
    """
    try:
        # Without the flag, opening a FIFO that has no writer waits forever.
        file = open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK))  # noqa: SIM115
    except OSError as error:
        raise _cannot_read(name, error) from error
    except ValueError as error:  # the path has a null character
        raise ImageError(f"Cannot read {printable(name)}: {error}.") from error
    status = os.fstat(file.fileno())
    reason = None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, a FIFO or a socket"
        reason = f"expected a file, got {kind}"
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
    """Returns everything below a folder that is not a folder, dangling links included.

    Links to folders are not followed, so that links in a circle do no harm.
    """
    return [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]


def _cannot_read(name: str, error: OSError) -> UserError:
    kind = UserError if error.errno in _MACHINE_ERRORS else ImageError
    return kind(f"Cannot read {printable(name)}: {error.strerror or error}.")
