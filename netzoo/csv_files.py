"""Reads and writes CSV files whose first line names the columns."""

import csv
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from netzoo.errors import UserError, printable
from netzoo.files import read_text, replacing

Row = TypeVar("Row")


def write_csv(
    path: str | os.PathLike[str],
    columns: Iterable[str],
    rows: Iterable[Iterable],
    *,
    typed: bool = False,
) -> None:
    """Write a CSV file completely or not at all.

    For `typed` and the errors, see `netzoo.files.replacing`.
    """
    with replacing(path, "w", typed=typed) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def read_csv(
    path: Path, columns: tuple[str, ...], convert: Callable[..., Row], kind: str
) -> list[Row]:
    """Read what `write_csv` wrote.

    Args:
      path: The file.
      columns: The names that its first line must have.
      convert: Makes a row of the texts in a line; raises a ValueError for invalid ones.
      kind: What the file should be, for the error.

    Raises:
      UserError: The file is not a regular file, or it is damaged.
      OSError: The file cannot be read.
    """
    try:
        lines = [*csv.reader(io.StringIO(read_text(path)), strict=True)]
        if not lines or tuple(lines[0]) != columns:
            raise ValueError(f"its first line is not {','.join(columns)}")
        for line in lines:
            if len(line) != len(columns):
                raise ValueError(f"expected {len(columns)} values in a line, got {len(line)}")
        return [convert(*line) for line in lines[1:]]
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is not {kind}, or is damaged: {printable(str(error))}") from None
