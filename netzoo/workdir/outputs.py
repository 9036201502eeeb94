"""Checks the output files of a command."""

import os
from collections.abc import Iterable
from pathlib import Path

from netzoo.config import CONFIG_FILE
from netzoo.errors import UserError
from netzoo.files import is_stream


def check_writable(*paths: str | None) -> None:
    """Check in advance that output files can be written; skip None.

    Raises:
      UserError: The folder of a file does not exist or is not writable; a path is a folder; or two
        paths are the same file.
    """
    wanted = [path for path in paths if path is not None]
    if len({Path(path).resolve() for path in wanted}) < len(wanted):
        raise UserError(f"{' and '.join(wanted)} are the same file; give two names")
    for path in wanted:
        folder = Path(path).parent
        if Path(path).is_dir():
            raise UserError(f"cannot write {path}: it is a folder; expected a file name")
        if not folder.is_dir():
            raise UserError(f"cannot write {path}: the folder {folder} does not exist")
        if not os.access(path if is_stream(Path(path)) else folder, os.W_OK):
            raise UserError(f"cannot write {path}: no permission")


def check_apart(outputs: Iterable[str | None], inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Check that no output file is an input, which would be lost; skip None.

    Raises:
      UserError: An output file is an input.
    """
    existing = [path for path in outputs if path is not None and os.path.isfile(path)]
    if existing:  # otherwise, the names of many inputs need not be resolved
        read = {os.path.realpath(path) for path in inputs}
        for path in existing:
            if os.path.realpath(path) in read:
                raise UserError(f"{path} is an input and would be replaced; give another name")


def check_results_folder(folder: Path) -> None:
    """Check that results of other data, or of another program, may be written into a folder.

    Raises:
      UserError: It is a file, or the folder of a run, whose own results would be replaced.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give --out the name of a folder")
    if (folder / CONFIG_FILE).exists():
        raise UserError(f"{folder} is the folder of a run; give --out another folder")
