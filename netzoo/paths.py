"""Paths that a user gives: on the command line, in a configuration or in a call."""

import os
from pathlib import Path

from netzoo.buckets import bucket_folder, is_in_bucket
from netzoo.errors import UserError, printable


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return a path with `~` and `~NAME` expanded.

    Raises:
      UserError: It is an address, such as `gs://bucket/run`, or names an unknown user.
    """
    text = os.fspath(path)
    if is_address(text):
        raise UserError(
            f"{printable(text)} is an address; expected a path of this machine, because only "
            "runs (gs://BUCKET/RUN) and data may lie in a bucket: mount it or copy it"
        )
    try:
        return Path(text).expanduser()
    except RuntimeError:
        name = text.partition("/")[0]
        raise UserError(
            f"{printable(text)}: the user {printable(name[1:])!r} does not exist; for a folder of "
            "this name, give ./~..."
        ) from None


def run_path(path: str | os.PathLike[str]) -> Path:
    """Return the folder of a run: a path as in `user_path`, or an address `gs://BUCKET/RUN`.

    Raises:
      UserError: The path is another address, or the bucket cannot be read.
    """
    return bucket_folder(os.fspath(path)) if is_in_bucket(path) else user_path(path)


def is_address(text: str) -> bool:
    """Return whether a text is the address of a bucket, a server or the like.

    `pathlib.Path` makes `gs:/bucket/run` of `gs://bucket/run`, which counts too.
    """
    return "://" in text or text.startswith("gs:/")
