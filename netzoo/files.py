"""Writes files completely or not at all, and never through a link.

Everything that netzoo writes goes through this module; `tests/test_structure.py` checks it. The
folder of a run may come from a stranger, and so may the links in it.
"""

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from netzoo.errors import UserError

_PARTIAL = ".netzoo-{}.partial"  # the name of a file or folder that is being written


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], mode: str = "wb", *, typed: bool = False) -> Iterator:
    """Write a new file beside `path`, which gets this name at the end of the `with` block.

    Nobody sees half a file: an error in the block leaves the old file. A link is replaced, not
    followed. The file has the permissions that the umask sets.

    Args:
      path: The final name.
      mode: `"wb"`, or `"w"` for text in UTF-8 with line feeds.
      typed: Whether the user typed the name. A device or a FIFO, such as `/dev/stdout`, is then
        written directly.

    Yields:
      The open file.

    Raises:
      OSError: The file cannot be written; it names `path` if the disk is full.
    """
    path = Path(path)
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    if typed and is_stream(path):
        with open(path, mode, **text) as file:
            yield file
        return
    partial = path.with_name(_PARTIAL.format(secrets.token_hex(8)))
    try:
        with open(partial, mode.replace("w", "x"), **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(errno.ENOSPC, "the disk is full", str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file completely or not at all; see `replacing`."""
    with replacing(path) as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text in UTF-8 completely or not at all; see `replacing`."""
    write_bytes(path, text.encode())


def appending(path: str | os.PathLike[str], buffering: int = -1) -> IO[bytes]:
    """Open a regular file to append to it, and create it if it is missing.

    Raises:
      UserError: The path is a link, a device or the like.
    """

    def opener(name: str, flags: int) -> int:
        # Without the second flag, opening a FIFO without a reader fails or blocks.
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)

    try:
        file = open(path, "ab", buffering=buffering, opener=opener)  # noqa: SIM115
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
    else:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
        file.close()
    raise UserError(f"{path} is a link or not a regular file, and netzoo writes to it; remove it")


def make_folder(path: Path) -> Path:
    """Create a folder of netzoo's own unless it exists, and return it.

    Raises:
      UserError: The path is a link; netzoo would write where it leads.
    """
    if path.is_symlink():
        raise UserError(
            f"{path} is a link to {os.readlink(path)}, and netzoo writes only inside "
            f"{path.parent}; replace the link by a folder, or mount one there"
        )
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder beside `path`, which gets this name at the end of the `with` block.

    An error in the block removes the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(_PARTIAL.format(secrets.token_hex(8)))
    partial.mkdir()
    try:
        yield partial
        os.rename(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def is_stream(path: Path) -> bool:
    """Return whether a path is a device, a FIFO or an open file of the process."""
    if path.is_relative_to("/dev") or path.is_relative_to("/proc"):
        return True
    kind = stat.S_IFMT(path.lstat().st_mode) if os.path.lexists(path) else stat.S_IFREG
    return kind not in (stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR)
