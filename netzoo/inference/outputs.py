"""Files that predictions are written to."""

from pathlib import Path

from netzoo.errors import UserError


def check_writable(*paths: str | None) -> None:
    """Checks, before the work is done, that its results can be written.

    Args:
      *paths: Files to be written, None where none is wanted.

    Raises:
      UserError: The folder of one does not exist, or there is a folder in its place.
    """
    for path in filter(None, paths):
        if Path(path).is_dir():
            raise UserError(f"cannot write {path}: it is a folder, expected a file's name")
        if not Path(path).parent.is_dir():
            raise UserError(f"cannot write {path}: there is no folder {Path(path).parent}")
