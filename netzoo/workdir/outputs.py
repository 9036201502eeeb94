"""Files that predictions are written to."""

import os
from pathlib import Path

from netzoo.errors import UserError


def check_writable(*paths: str | None) -> None:
    """Checks, before the work is done, that its results can be written.

    Args:
      *paths: Files to be written, None where none is wanted.

    Raises:
      UserError: The folder of one does not exist, there is a folder in its place, the user may not
        write there, or two are the same.
    """
    wanted = [path for path in paths if path is not None]
    if len({Path(path).resolve() for path in wanted}) < len(wanted):
        raise UserError(f"{' and '.join(wanted)} are one file, and two are to be written")
    for path in wanted:
        folder = Path(path).parent
        if Path(path).is_dir():
            raise UserError(f"cannot write {path}: it is a folder, expected a file's name")
        if not folder.is_dir():
            raise UserError(f"cannot write {path}: there is no folder {folder}")
        if not os.access(path if Path(path).exists() else folder, os.W_OK):
            raise UserError(f"cannot write {path}: no permission")
