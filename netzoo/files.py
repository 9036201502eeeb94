"""Writes files completely or not at all, not through links; reads regular files of limited size.

All files go through this module; `tests/test_structure.py` checks it. The folder of a run may come
from a stranger, and so may the links and the files in it. The folder may also lie in a bucket: the
functions that take a path of a run then read and write objects (`netzoo.buckets`).
"""

import contextlib
import errno
import hashlib
import io
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from netzoo.buckets import (
    is_in_bucket,
    objects_below,
    read_object,
    sha256_of_object,
    size_of_objects,
    write_object,
)
from netzoo.errors import UserError

MAX_TEXT = 1 << 26  # bytes of a file of text, such as JSON
MAX_LOG = 1 << 30  # of a metrics log
MAX_DATA = 1 << 36  # of weights, or of the values of a checkpoint
_PARTIAL = ".netzoo-{}.partial"  # the name of a file or folder that is being written


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], mode: str = "wb", *, typed: bool = False) -> Iterator:
    """Write a temporary file beside `path`; rename it to `path` at the end of the `with` block.

    The replacement is atomic: after an error in the block, the old file is unchanged. A link is
    replaced, not followed. The file has the permissions that the umask sets. In a bucket, the
    object is written at the end of the block.

    Args:
      path: The final name.
      mode: `"wb"`, or `"w"` for text in UTF-8 with line feeds.
      typed: Whether the user typed the name. A device or a FIFO, such as `/dev/stdout`, is then
        written directly.

    Yields:
      The open file.

    Raises:
      OSError: The file cannot be written; if the disk is full, the error names `path`.
    """
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    if is_in_bucket(path):
        with io.BytesIO() as buffer:
            stream = io.TextIOWrapper(buffer, **text) if text else buffer
            yield stream
            stream.flush()
            write_object(path, buffer.getvalue())
        return
    path = Path(path)
    if typed and is_stream(path):
        with open(path, mode, **text) as file:
            yield file
        return
    with _beside(path) as partial, open(partial, mode.replace("w", "x"), **text) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def renaming(path: Path) -> Iterator[Path]:
    """Yield a name beside `path` with its suffix; rename it to `path` at the end of the block.

    The block writes a file of this name, and may read it. An error in the block removes the file.
    """
    with _beside(path, path.suffix) as partial:
        yield partial


@contextlib.contextmanager
def _beside(path: Path, suffix: str = "") -> Iterator[Path]:
    partial = path.with_name(_PARTIAL.format(secrets.token_hex(8)) + suffix)
    try:
        yield partial
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
    raise UserError(f"{path} must be a regular file, not a link, a FIFO or a device; remove it")


def make_folder(path: Path) -> Path:
    """Create a folder of netzoo's own unless it exists, and return it; a bucket has no folders.

    Raises:
      UserError: The path is a link; netzoo would write where it leads.
    """
    if is_in_bucket(path):
        return path
    if path.is_symlink():
        raise UserError(
            f"{path} is a link to {os.readlink(path)}, and netzoo writes only inside "
            f"{path.parent}; replace the link by a folder, or mount one there"
        )
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it to `path` at the end of the `with` block.

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


def open_regular(path: str | os.PathLike[str], limit: int = MAX_TEXT) -> io.BufferedReader:
    """Open a regular file of at most `limit` bytes without blocking.

    Raises:
      OSError: The file is missing, unreadable, too large or not a regular file.
    """
    try:
        # Without the flag, opening a FIFO without a writer blocks forever.
        file = open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK))  # noqa: SIM115
    except ValueError as error:  # the name has a character that names of files cannot have
        raise OSError(errno.EINVAL, str(error), os.fspath(path)) from None
    status = os.fstat(file.fileno())
    reason = None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, a FIFO or a socket"
        reason = f"expected a file, got {kind}"
    elif status.st_size > limit:
        reason = f"it has {status.st_size:,} bytes, over the limit of {limit:,}"
    if reason:
        file.close()
        raise OSError(errno.EINVAL, reason, str(path))
    return file


def read_bytes(path: str | os.PathLike[str], limit: int = MAX_TEXT) -> bytes:
    """Return the contents of a file or an object; see `open_regular`."""
    if is_in_bucket(path):
        return read_object(path, limit)
    with open_regular(path, limit) as file:
        return file.read(os.fstat(file.fileno()).st_size)


def sha256_of(path: str | os.PathLike[str], limit: int = MAX_DATA) -> str:
    """Return the SHA-256 of the contents of a file, in hexadecimal; see `read_bytes`."""
    if is_in_bucket(path):
        return sha256_of_object(path)
    with open_regular(path, limit) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_text(path: str | os.PathLike[str], limit: int = MAX_TEXT) -> str:
    """Return a text in UTF-8, with escapes for other bytes; see `read_bytes`."""
    return read_bytes(path, limit).decode(errors="backslashreplace")


def check_regular(folder: Path) -> None:
    """Check that every entry below a folder is a folder, a regular file or a link to such a file.

    Raises:
      OSError: An entry is of another kind, or is a link to a folder; the error names it.
    """
    if is_in_bucket(folder):
        return
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in (*links, *names):
            path = os.path.join(parent, name)
            if name in links or not stat.S_ISREG(os.stat(path).st_mode):
                raise OSError(errno.EINVAL, "expected a file or a folder, got something else", path)


def files_below(folder: Path) -> list[Path]:
    """Return all files below a folder, and below its folders, in the order of their names."""
    if is_in_bucket(folder):
        return objects_below(folder)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def bytes_below(folder: Path) -> int:
    """Return the sum of the sizes of all files below a folder."""
    if is_in_bucket(folder):
        return size_of_objects(folder)
    return sum(path.stat().st_size for path in files_below(folder))


@contextlib.contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Yield a folder on the disk whose files are in `folder` at the end of the `with` block.

    On the disk, this is `folder` itself, which is created if it is missing.
    """
    if not is_in_bucket(folder):
        yield make_folder(folder)
        return
    with tempfile.TemporaryDirectory(prefix="netzoo-") as temporary:
        yield Path(temporary)
        for path in files_below(Path(temporary)):
            write_object(folder / path.relative_to(temporary).as_posix(), read_bytes(path, MAX_LOG))


def is_stream(path: Path) -> bool:
    """Return whether a path is a device, a FIFO or an open file of the process."""
    # `/dev/stdout` and `/dev/fd/1` are links to what is open; `/dev/shm` holds ordinary files.
    if path.parent in (Path("/dev"), Path("/dev/fd")) or path.is_relative_to("/proc"):
        return True
    kind = stat.S_IFMT(path.lstat().st_mode) if os.path.lexists(path) else stat.S_IFREG
    return kind not in (stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR)
