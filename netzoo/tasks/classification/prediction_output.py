"""Writes predictions as a table, JSON, JSON lines or CSV."""

import contextlib
import csv
import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from netzoo.console import json_text, print_table, say
from netzoo.errors import UserError, printable
from netzoo.files import replacing

Predictions = list[tuple[Path, list[tuple[str, float]]]]  # images and classes, best first
FORMATS = ("json", "jsonl", "csv")  # besides the table


def format_of(wanted: Sequence[str], output: str | None) -> str:
    """Return "table" or one of `FORMATS`.

    Args:
      wanted: The formats that the user asks for, at most one.
      output: A file, whose extension is the format if the user asks for none.

    Raises:
      UserError: Several formats are given, or the file extension is unknown.
    """
    if len(wanted) > 1:
        raise UserError(f"expected one of --{', --'.join(FORMATS)}; got --{' and --'.join(wanted)}")
    if wanted or output is None:
        return wanted[0] if wanted else "table"
    extension = Path(output).suffix.lower().removeprefix(".")
    if extension not in FORMATS:
        raise UserError(
            f"the format of {output} is unknown: name the file .{', .'.join(FORMATS)}, or add "
            f"--{' or --'.join(FORMATS)}"
        )
    return extension


@contextlib.contextmanager
def writing(
    format_: str, output: str | None, top_k: int
) -> Iterator[Callable[[Predictions], None]]:
    """Yield a function that adds predictions to `output`, or to standard output if it is None.

    JSON lines and CSV are written at once, and a table and JSON at the end of the block. `top_k` is
    the largest number of classes of an image.
    """
    with contextlib.ExitStack() as stack:
        write = say
        if output is not None:
            file = stack.enter_context(replacing(output, "w", typed=True))

            def write(text: str) -> None:
                file.write(f"{text}\n")

        every: Predictions = []
        if format_ == "csv":
            ranks = range(1, top_k + 1)
            columns = itertools.chain(*((f"class_{n}", f"probability_{n}") for n in ranks))
            write(_csv_line(["path", *columns]))

        def add(predictions: Predictions) -> None:
            if format_ == "jsonl":
                write("\n".join(map(json_text, _entries(predictions))))
            elif format_ == "csv":
                write("\n".join(_csv_row(prediction, top_k) for prediction in predictions))
            every.extend(predictions)

        try:
            yield add
        finally:
            if format_ == "json":
                write(json_text([*_entries(every)]))
            elif format_ == "table":
                _print_table(every)


def _entries(predictions: Predictions) -> Iterator[dict]:
    for path, scores in predictions:
        classes = [{"class": name, "probability": value} for name, value in scores]
        yield {"path": str(path), "predictions": classes}


def _csv_row(prediction: tuple[Path, list[tuple[str, float]]], top_k: int) -> str:
    path, scores = prediction
    cells = itertools.chain(*((printable(name), f"{value:.6f}") for name, value in scores))
    return _csv_line([printable(str(path)), *cells, *[""] * (2 * (top_k - len(scores)))])


def _csv_line(cells: Sequence[str]) -> str:
    with io.StringIO() as text:
        csv.writer(text, lineterminator="").writerow(cells)
        return text.getvalue()


def _print_table(predictions: Predictions) -> None:
    if predictions:
        most = max(1, *(len(scores) for _, scores in predictions))
        places = (f"{place}." for place in range(1, most + 1))
        rows = []
        for path, scores in predictions:
            cells = [f"{name} {value:.1%}" for name, value in scores] or ["no class"]
            rows.append((str(path), *cells, *[""] * (most - len(cells))))
        print_table(("image", *places), rows)
