"""Paths that a user gives: on the command line, in a configuration or in a call."""

import os
from pathlib import Path

from netzoo.errors import UserError, printable


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return a path with `~` and `~NAME` expanded.

    Raises:
      UserError: It is an address, such as `gs://bucket/run`, or names an unknown user.
    """
    text = os.fspath(path)
    if is_address(text):
        raise UserError(
            f"{printable(text)} is an address, and netzoo reads and writes files of this machine "
            "only: mount it or copy it, and give the path"
        )
    try:
        return Path(text).expanduser()
    except RuntimeError:
        name = text.partition("/")[0]
        raise UserError(
            f"{printable(text)}: the user {printable(name[1:])!r} does not exist; for a folder of "
            "this name, give ./~..."
        ) from None


def is_address(text: str) -> bool:
    """Return whether a text is the address of a bucket, a server or the like."""
    return "://" in text
