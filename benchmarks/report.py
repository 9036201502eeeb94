"""What benchmarks have in common: flags, a CSV file that grows line by line, and a table."""

import argparse
import csv
import importlib.metadata
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from netzoo.workdir.environment import cpu_model

Line = dict[str, Any]
# Names of the modes in tables and figures.
MODES = {"train": "training step", "infer": "inference"}
# Tables in files and pipes are as wide as they need to be.
CONSOLE = Console(width=None if Console().is_terminal else 140, highlight=False)


class Lines:
    """The lines of a CSV file, one for each value of its key columns.

    Attributes:
      key: Names of the columns that identify a line.
    """

    def __init__(self, folder: Path | None, name: str, key: Sequence[str]):
        """Read the file `name` that an earlier run wrote into the folder, if a folder is given."""
        self.key, self._path = tuple(key), folder / name if folder else None
        self._lines: dict[tuple[str, ...], Line] = {}
        if self._path and self._path.exists():
            with self._path.open(newline="") as file:
                for line in csv.DictReader(file):
                    self._keep({name: _number(text) for name, text in line.items()})

    def get(self, values: Iterable[Any]) -> Line | None:
        """Return the line with these values of the key columns, if there is one."""
        return self._lines.get(tuple(map(str, values)))

    def all(self) -> list[Line]:
        """Return all lines, in the order in which they were added."""
        return [*self._lines.values()]

    def add(self, lines: Iterable[Line]) -> None:
        """Keep lines, in place of earlier ones with the same key, and write the file anew."""
        for line in lines:
            self._keep(line)
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        columns = dict.fromkeys(name for line in self._lines.values() for name in line)
        partial = self._path.with_name(self._path.name + ".partial")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(columns))
            writer.writeheader()
            writer.writerows(self._lines.values())
        os.replace(partial, self._path)

    def _keep(self, line: Line) -> None:
        self._lines[tuple(str(line[name]) for name in self.key)] = line


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def flags(tool: str, doc: str, repeats: int) -> argparse.ArgumentParser:
    """Return the flags that all tools have: `--repeats`, and `--out` for a folder."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{tool}",
        description=doc.split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--repeats", type=int, default=repeats, help="runs of every contestant")
    parser.add_argument("--out", type=Path, help="folder for the results")
    return parser


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1
) -> None:
    """Print a table, the first `texts` columns left-aligned and the numbers after them right.

    Brackets are printed as they are.
    """
    table = Table(title=Text(title), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for index, name in enumerate(columns):
        table.add_column(Text(name), justify="left" if index < texts else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    CONSOLE.print(table)


def print_markdown(head: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> None:
    """Print a table for a page of the documentation; see `print_table`."""
    marks = ["---"] * texts + ["--:"] * (len(head) - texts)
    print(f"| {' | '.join(head)} |", f"|{'|'.join(marks)}|", sep="\n")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def ratio_cells(line: Line, shown: bool = True) -> list[str]:
    """Return two cells of a table: netzoo's ratio and its range."""
    if not shown:
        return ["", ""]
    low, high = line["netzoo_ratio_low"], line["netzoo_ratio_high"]
    return [f"{line['netzoo_ratio']:.2f} x", f"{low:.2f}..{high:.2f}"]


def machine() -> Line:
    """Return the processor and the versions, without initialising devices."""
    versions = {name: importlib.metadata.version(name) for name in ("jax", "flax", "numpy")}
    python = platform.python_version()
    cores = len(os.sched_getaffinity(0))
    return {"cpu": cpu_model(), "cores": cores, "python": python, **versions}


def print_machine(lines: Sequence[Line]) -> None:
    """Print the machine and the versions of the lines."""
    found = {
        name: " or ".join(dict.fromkeys(str(line[name]) for line in lines if line.get(name)))
        for name in ("device", *machine(), "libtpu", "torch", "keras", "tensorflow")
    }
    text = ", ".join(f"{name} {value}" for name, value in found.items() if value)
    CONSOLE.print(text, soft_wrap=True)
