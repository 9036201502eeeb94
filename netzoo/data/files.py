"""Finds images by their names, and reads files from untrusted sources."""

import errno
import os
from collections import Counter
from pathlib import Path, PurePath
from typing import BinaryIO

from netzoo.errors import UserError, printable
from netzoo.files import open_regular, read_bytes

MAX_BYTES = 1 << 29  # of one image file; the decoder accepts up to 89 million pixels
# Errors of the machine or its disk, not of the file. Skipping the file would hide them.
_MACHINE_ERRORS = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}
# Extensions of the formats that `netzoo.data.decode` reads.
DECODED = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".avif"),
    *(".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".ico", ".tga"),
    *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
)
# Extensions of other images. They are errors, because leaving them out would change the data.
NOT_DECODED = (
    *(".heic", ".heif", ".hif", ".jxl", ".svg", ".psd", ".eps", ".exr"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),  # of cameras
)
# Files and folders that programs leave behind, besides hidden ones such as `._1.jpg`.
_LITTER = {"thumbs.db", "desktop.ini", "__macosx", "@eadir"}
_LISTED = 5  # kinds of files


class ImageError(UserError):
    """An image file is missing, damaged or unreadable; the message names it and the reason."""


def open_file(path: str | os.PathLike[str], name: str) -> BinaryIO:
    """Open a regular file of at most `MAX_BYTES` without blocking; errors contain `name`.

    Raises:
      ImageError: The file is missing, unreadable, too large or not a regular file.
      UserError: The machine or its disk failed.
    """
    try:
        return open_regular(path, MAX_BYTES)
    except OSError as error:
        raise _cannot_read(name, error) from error


def read_file(path: str | os.PathLike[str], name: str) -> bytes:
    """Return the bytes of a file; raise the errors of `open_file`."""
    try:
        return read_bytes(path, MAX_BYTES)
    except OSError as error:
        raise _cannot_read(name, error) from error


def is_litter(name: str) -> bool:
    """Return whether a file or folder is hidden or left behind by a program."""
    return name.startswith(".") or name.lower() in _LITTER


def is_image(path: PurePath) -> bool:
    """Return whether a file has the name of an image; `path` is relative to the user's folder."""
    return path.suffix.lower() in DECODED + NOT_DECODED and not any(map(is_litter, path.parts))


def images_below(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Return the images below a folder, and the numbers of other files by kind.

    Links to folders are not followed, because they could form a cycle. Dangling links count as
    files.
    """
    images: list[Path] = []
    others: Counter[str] = Counter()
    for path in folder.rglob("*"):
        inner = path.relative_to(folder)
        if path.is_dir():
            if path.is_symlink() and not is_litter(path.name):
                others["links to folders"] += 1
        elif is_image(inner):
            images.append(path)
        else:
            litter = any(map(is_litter, inner.parts))
            others["hidden" if litter else path.suffix.lower() or "without extension"] += 1
    return images, others


def holds_images(folder: Path) -> bool:
    """Return whether there are images below a folder."""
    return any(is_image(p.relative_to(folder)) and not p.is_dir() for p in folder.rglob("*"))


def left_out(others: Counter[str]) -> str:
    """Return `ignored other files: 2 .txt, 1 hidden` for the numbers of `images_below`."""
    ordered = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    kinds = [f"{count:,} {kind}" for kind, count in ordered[:_LISTED]]
    more = ["..."] if len(others) > _LISTED else []
    return f"ignored other files: {', '.join(kinds + more)}"


def _cannot_read(name: str, error: OSError) -> UserError:
    kind = UserError if error.errno in _MACHINE_ERRORS else ImageError
    return kind(f"Cannot read {printable(name)}: {error.strerror or error}.")
