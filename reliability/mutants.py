"""Puts small faults into the code, one at a time, and counts those that a fast test notices.

    python -m reliability.mutants --count 100 --out runs/mutants
    python -m reliability.mutants --again results/reliability/mutants.csv --out runs/again

The seed samples the faults, equally many from each part of netzoo. Each is put into a copy of the
tree, where the tests of its part run until one fails; that test must pass without the fault. The
same command again continues after the faults that the CSV file already has. `--again` puts the
faults of an earlier table into the code of today, and runs only the test that noticed each.
"""

import argparse
import ast
import csv
import importlib
import multiprocessing
import os
import random
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TextIO

import pytest

import tests.conftest  # noqa: F401  sets JAX's options, before it is loaded
from reliability.code_mutation import faults, mutant

ROOT = Path(__file__).parents[1]
COLUMNS = ("number", "file", "line", "before", "after", "result", "seconds", "test")
# Folders and files of the tests of each part.
TESTS = {
    "models": ("models", "parity"),
    "layers": ("layers", "parity", "models/test_initializers.py"),
    "tasks": ("tasks", "config", "test_every_key.py"),
    "training": ("training", "config", "test_every_key.py"),
    "data": ("data", "tasks/classification", "test_every_key.py"),
}
LOADED = (  # before the processes are forked
    *("chex", "cv2", "flax.linen", "grain", "jax", "matplotlib.pyplot", "optax"),
    *("orbax.checkpoint", "tensorflow_datasets"),
)
SECONDS = 1800  # a fault that makes a test wait for ever is noticed too
DRAWINGS = {"figures.py", "curves.py", "synthetic"}  # people look at these


def copy(folder: str) -> Path:
    """Copies the tree into a folder; returns the copy."""
    root = Path(folder) / "netzoo"
    ignored = (".*_cache", ".git", ".venv*", "runs", "site")
    return Path(shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(*ignored)))


def draw(root: Path, count: int, seed: int) -> list[tuple[str, int]]:
    """Returns files and numbers of faults in them, equally many from each part."""
    drawn = []
    for part in TESTS:
        files = sorted((root / "netzoo" / part).rglob("*.py"))
        all_faults = [
            (str(path.relative_to(root)), number)
            for path in files
            if not DRAWINGS & {*path.parts}
            for number, _ in enumerate(faults(ast.parse(path.read_text())))
        ]
        drawn.append(random.Random(f"{seed} {part}").sample(all_faults, -(-count // len(TESTS))))
    return [fault for group in zip(*drawn, strict=True) for fault in group][:count]


def tests_of(root: Path, file: str) -> list[str]:
    """Returns the test files of a file's part, the most likely to notice a fault first.

    If some tests are named after the file, those named after others run only if they import it.
    """
    part, stem, module = Path(file).parts[1], Path(file).stem, file[: -len(".py")].replace("/", ".")
    named = {path.stem for path in (root / "netzoo" / part).rglob("*.py")}
    found = [root / "tests" / name for name in TESTS[part]]
    paths = [path for place in found for path in sorted(place.rglob("test_*.py")) or [place]]
    ranks = {}
    for path in paths:
        subject = path.stem.removeprefix("test_")
        imports = module in path.read_text()
        ranks[path] = 0 if subject.startswith(stem) else 1 if imports else 2 + (subject in named)
    last = 2 if 0 in ranks.values() else 3
    paths = [path for path in sorted(paths, key=ranks.get) if ranks[path] <= last]
    return [str(path.relative_to(root)) for path in paths]


def run_tests(root: Path, paths: list[str], slow: bool = False) -> tuple[str, str]:
    """Runs tests until one fails; returns the result and the name of the test that failed."""
    with tempfile.NamedTemporaryFile("w+") as output:
        fork = multiprocessing.get_context("fork")  # the process need not load JAX again
        process = fork.Process(target=_pytest, args=(root, paths, slow, output.fileno()))
        process.start()
        process.join(SECONDS)
        if process.is_alive():
            process.kill()
            return "timeout", ""
        text = Path(output.name).read_text(errors="replace")
    failed = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", text, re.MULTILINE)
    return ("killed" if process.exitcode else "survived"), (failed or [""])[0]


def _pytest(root: Path, paths: list[str], slow: bool, output: int) -> None:
    os.chdir(root)
    os.environ["PYTHONPATH"] = str(root)  # of the processes that tests start
    sys.path[:] = [str(root), *(path for path in sys.path if path not in ("", str(ROOT)))]
    for name in [name for name in sys.modules if name.split(".")[0] in ("netzoo", "tests")]:
        del sys.modules[name]
    for stream in (1, 2):
        os.dup2(output, stream)
    marks = "not real_data" if slow else "not slow and not real_data"
    options = ["-x", "-q", "-m", marks, "-p", "no:cacheprovider"]
    os._exit(int(pytest.main([*options, *paths])))


def find(source: str, line: dict[str, str]) -> int | None:
    """Returns the number of an earlier table's fault in today's code: the nearest of its kind."""
    found = [mutant(source, number)[1:] for number, _ in enumerate(faults(ast.parse(source)))]
    same = [n for n, x in enumerate(found) if x[1:] == (line["before"], line["after"])]
    return min(same, key=lambda n: abs(found[n][0] - int(line["line"])), default=None)


def run_again(root: Path, lines: list[dict[str, str]], file: TextIO) -> int:
    """Runs the tests that noticed the faults of an earlier table; writes a table of the results.

    A fault whose line has left the code is `gone`. A test that is missing, or fails without the
    fault, proves nothing: the fault is `untested`. Faults that no test noticed are left out.

    Returns:
      1 if a fault is untested or its test does not notice it, otherwise 0.
    """
    place = ("file", "line", "before", "after")
    writer = csv.DictWriter(file, (*place, "result", "test"))
    writer.writeheader()
    status, sound = 0, set()
    for line in lines:
        if not (test := line["later_test"] or line["test"]):
            continue
        path = root / line["file"]
        source = path.read_text() if path.exists() else ""
        fault = find(source, line)
        result = "gone"
        if test not in sound and run_tests(root, [test], slow=True)[0] == "survived":
            sound.add(test)
        if fault is not None and test not in sound:
            result = "untested"
        elif fault is not None:
            path.write_text(mutant(source, fault)[0])
            result, _ = run_tests(root, [test], slow=True)
            path.write_text(source)
        row = {**{name: line[name] for name in place}, "result": result, "test": test}
        writer.writerow(row)
        file.flush()
        print(*row.values(), flush=True)
        status |= result in ("survived", "untested")
    return status


def main() -> int:
    """Runs the command line; returns 1 if a test fails without a fault."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=100, help="how many faults are drawn")
    parser.add_argument("--seed", type=int, default=0, help="draws the faults")
    parser.add_argument("--out", type=Path, required=True, help="folder for mutants.csv")
    parser.add_argument("--again", type=Path, help="mutants.csv of an earlier state of the code")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    table = options.out / "mutants.csv"
    for name in LOADED:
        importlib.import_module(name)
    if options.again:
        lines, again = [*csv.DictReader(options.again.open())], options.out / "again.csv"
        with tempfile.TemporaryDirectory() as folder, again.open("w", newline="") as file:
            return run_again(copy(folder), lines, file)
    lines = [*csv.DictReader(table.open())] if table.exists() else []
    known = {int(line["number"]) for line in lines}
    sound = {line["test"] for line in lines}  # pass without a fault
    with tempfile.TemporaryDirectory() as folder, table.open("a", newline="") as file:
        root = copy(folder)
        writer = csv.DictWriter(file, COLUMNS)
        if not lines:
            writer.writeheader()
        for number, (name, fault) in enumerate(draw(root, options.count, options.seed)):
            if number in known:
                continue
            path, began = root / name, time.monotonic()
            source = path.read_text()
            changed, line, before, after = mutant(source, fault)
            path.write_text(changed)
            result, test = run_tests(root, tests_of(root, name))
            path.write_text(source)
            if test and test not in sound and run_tests(root, [test])[0] != "survived":
                print(f"error: {test} fails without a fault", file=sys.stderr)
                return 1
            sound.add(test)
            seconds = round(time.monotonic() - began)
            row = (number, name, line, before, after, result, seconds, test)
            writer.writerow(dict(zip(COLUMNS, row, strict=True)))
            file.flush()
            print(*row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
