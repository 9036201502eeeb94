"""Runs the tests that reproduce the faults which users found by trying netzoo.

python -m reliability.reported --out results/reliability

`reported.toml` has a row for each fault: what a user saw, what happens now, and the tests that show
it. Tests of both tiers run at once. A row passes if each of its tests ran and passed; a case that
cannot run on this machine is left out. If a row fails, or a test no longer exists, the exit status
is 1.
"""

import argparse
import ast
import collections
import csv
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benchmarks.report import CONSOLE, Lines, print_table

ROOT = Path(__file__).parents[1]
TABLE = Path(__file__).with_name("reported.toml")
COLUMNS = ("section", "fault", "now", "passed", "failed", "left out", "answered")
# Long tests are few and start in any order, so idle workers take them from others.
PARALLEL = ("--maxprocesses=4", "--dist=worksteal")


class Row(NamedTuple):
    """A fault, and the tests that reproduce it: `tests/FILE.py::NAME`, or `...::NAME[CASE]`."""

    section: str
    fault: str
    now: str
    tests: tuple[str, ...]


class Outcomes:
    """A plugin of pytest that counts the outcomes of the cases of each test."""

    def __init__(self):
        self._cases: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note the outcome of a phase of a case: an error in its setup or teardown counts too."""
        if self._cases.get(report.nodeid) != "failed" and (
            report.when == "call" or report.outcome != "passed"
        ):
            self._cases[report.nodeid] = report.outcome

    def of(self, test: str) -> collections.Counter[str]:
        """Return how many cases of a test have passed, failed and were skipped."""
        return collections.Counter(
            outcome
            for case, outcome in self._cases.items()
            if test in (case, case.partition("[")[0])
        )


def read_table(path: Path = TABLE) -> list[Row]:
    """Return the rows of the table."""
    return [
        Row(section, row["fault"], row["now"], tuple(row["tests"]))
        for section, rows in tomllib.loads(path.read_text("utf-8")).items()
        for row in rows
    ]


def missing(tests: Iterable[str]) -> list[str]:
    """Return the tests that are not functions of their files; nothing is imported."""
    known = set()
    for file in {test.partition("::")[0] for test in tests}:
        path = ROOT / file
        body = ast.parse(path.read_text("utf-8")).body if path.is_file() else []
        known |= {f"{file}::{node.name}" for node in body if isinstance(node, ast.FunctionDef)}
    return [test for test in tests if test.partition("[")[0] not in known]


def run(tests: Iterable[str], processes: str) -> Outcomes:
    """Run test functions of both tiers in one call of pytest."""
    outcomes = Outcomes()
    arguments = [f"--numprocesses={processes}", *PARALLEL, *dict.fromkeys(tests)]
    pytest.main(arguments, plugins=[outcomes])
    return outcomes


def line(row: Row, outcomes: Outcomes) -> dict[str, Any]:
    """Return a line of the table of results."""
    counts = [outcomes.of(test) for test in row.tests]
    total = sum(counts, collections.Counter())
    answered = not total["failed"] and all(count["passed"] for count in counts)
    numbers = (total[name] for name in ("passed", "failed", "skipped"))
    values = (row.section, row.fault, row.now, *numbers, "yes" if answered else "no")
    return dict(zip(COLUMNS, values, strict=True))


def report(lines: Iterable[Mapping[str, Any]]) -> None:
    """Print a table for each section."""
    sections = collections.defaultdict(list)
    for found in lines:
        sections[found["section"]].append(found)
    for section, found in sections.items():
        answered = sum(each["answered"] == "yes" for each in found)
        print_table(
            f"{section}: {answered} of {len(found)} answered",
            ("fault", *COLUMNS[3:]),
            [[str(each[name]) for name in ("fault", *COLUMNS[3:])] for each in found],
        )


def save(folder: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write `reported.csv`; sections that did not run keep their lines of an earlier run."""
    new = {(each["section"], each["fault"]): each for each in lines}
    old = Lines(folder, "reported.csv", ("section", "fault"))
    keys = [(row.section, row.fault) for row in read_table()]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "reported.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(found for key in keys if (found := new.get(key) or old.get(key)))


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    rows = read_table()
    sections = list(dict.fromkeys(row.section for row in rows))
    parser = argparse.ArgumentParser(
        prog="python -m reliability.reported", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--section", action="append", choices=sections, help="only this part")
    parser.add_argument("--processes", "-n", default="auto", help="of pytest; default: auto")
    parser.add_argument(
        "--out", type=Path, help="folder for reported.csv, which keeps the lines of other sections"
    )
    options = parser.parse_args(arguments)
    rows = [row for row in rows if row.section in (options.section or sections)]
    tests = [test for row in rows for test in row.tests]
    if gone := missing(tests):
        CONSOLE.print("these tests do not exist:", *gone, sep="\n", markup=False)
        return 1
    outcomes = run(tests, options.processes)
    lines = [line(row, outcomes) for row in rows]
    report(lines)
    if options.out:
        save(options.out, lines)
    return int(any(each["answered"] == "no" for each in lines))


if __name__ == "__main__":
    sys.exit(main())
