"""Finds the images for a prediction: files, folders, patterns, and a list on stdin."""

import glob
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from netzoo.data.files import images_below, left_out
from netzoo.errors import UserError, note_once
from netzoo.paths import user_path


def find_images(arguments: Sequence[str]) -> list[Path]:
    """Return the images that arguments name, in their order.

    An argument is a file, a folder, a pattern such as `holiday/**/*.jpg`, or `-` for a list on
    standard input, with a path on each line (or with a zero byte after each path, as `find -print0`
    writes it). A file that does not exist is returned too.

    Raises:
      UserError: The arguments do not lead to any image, or a pattern does not match any file.
    """
    files: list[Path] = []
    for path in _paths(arguments):
        if path.is_dir():
            images, others = images_below(path)
            files += sorted(images)
            if others:
                note_once(f"{path}: {left_out(others)}")
        else:
            files.append(path)
    if not files:
        given = ", ".join(map(str, arguments))
        missing = f"no images in {given}" if arguments else "no images given"
        raise UserError(
            f"{missing}; pass images, or folders with images named .jpg, .png, .webp or the like"
        )
    return files


def _paths(arguments: Sequence[str]) -> Iterator[Path]:
    for argument in arguments:
        if argument == "-":
            yield from map(user_path, _listed())
            continue
        path = user_path(argument)
        # A name may hold the characters of a pattern.
        if os.path.lexists(path) or not glob.has_magic(argument):
            yield path
            continue
        matches = sorted(glob.glob(str(path), recursive=True))
        if not matches:
            raise UserError(f"no file matches {argument}")
        yield from map(Path, matches)


def _listed() -> list[str]:
    """Return the paths on standard input."""
    if sys.stdin is None:
        raise UserError("standard input is closed; omit -")
    data = sys.stdin.buffer.read()
    parts = data.split(b"\0") if b"\0" in data else re.split(rb"\r?\n", data)
    return [os.fsdecode(part) for part in parts if part]
