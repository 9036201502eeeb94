"""Reads files from untrusted sources."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from netzoo.errors import UserError, printable

MAX_BYTES = 1 << 29  # of one image file; the decoder accepts up to 89 million pixels
# Errors of the machine or its disk, not of the file; skipping the file would hide them.
_MACHINE_ERRORS = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}


class ImageError(UserError):
    """An image file is missing, damaged or unreadable; the message names it and the reason."""


def open_file(path: str | os.PathLike[str], name: str) -> BinaryIO:
    """Open a regular file of at most `MAX_BYTES` without blocking; errors contain `name`.

    Raises:
      ImageError: The file is missing, unreadable, too large or not a regular file.
      UserError: The machine or its disk failed.
    """
    try:
        # Without the flag, opening a FIFO without a writer blocks forever.
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
    """Return the bytes of a file; raise the errors of `open_file`."""
    with open_file(path, name) as file:
        try:
            return file.read(os.fstat(file.fileno()).st_size)
        except OSError as error:
            raise _cannot_read(name, error) from error


def files_below(folder: Path) -> list[Path]:
    """Return all files below a folder, including dangling links.

    Links to folders are not followed, because they could form a cycle.
    """
    return [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]


def _cannot_read(name: str, error: OSError) -> UserError:
    kind = UserError if error.errno in _MACHINE_ERRORS else ImageError
    return kind(f"Cannot read {printable(name)}: {error.strerror or error}.")
