"""Puts small faults into the code, one at a time, and counts those that a fast test notices.

    python -m reliability.mutants --count 100 --out results/reliability

A fault replaces an operator or a number, turns a condition around, or leaves out an argument or a
call. The seed samples the faults, equally many from each part of netzoo. Each is put into a copy of
the tree, where the tests of its part run until one fails; that test must pass without the fault.
The same command again continues after the faults that the CSV file already has.
"""

import argparse
import ast
import csv
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
COLUMNS = ("number", "file", "line", "before", "after", "result", "seconds", "test")
# The tests of each part, those of its own folder first.
TESTS = {
    "models": ("models", "parity", "test_native_programs.py", "weights/test_load.py"),
    "layers": ("layers", "kernels", "models", "parity"),
    "tasks": ("tasks", "test_every_key.py", "training", "cli"),
    "training": ("training", "test_every_key.py", "cli", "tasks"),
    "data": ("data", "test_every_key.py", "tasks/classification", "cli"),
}
SECONDS = 1800  # a fault that makes a test wait for ever is noticed too
SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn,
    ast.NotIn: ast.In, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.And: ast.Or,
    ast.Or: ast.And,
}  # fmt: skip
DRAWINGS = {"figures.py", "curves.py", "synthetic"}  # people look at these
# Messages, and checks that never fail.
SKIPPED_CALLS = {"UserError", "ValueError", "SourceError", "ImageError", "note", "say", "noting"}
SKIPPED = (ast.Raise, ast.Assert, ast.JoinedStr, ast.ImportFrom, ast.Import)
ANNOTATIONS = {"annotation", "returns", "type_params"}


def faults(tree: ast.AST) -> Iterator[tuple[ast.AST, str, ast.AST]]:
    """Yields faults: a parent, its field, and a new child for `new.replaced` there."""
    for field, value in ast.iter_fields(tree):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and field not in ANNOTATIONS and not _is_skipped(child):
                for new in _replacements(child):
                    ast.copy_location(new, child)
                    new.replaced = child
                    yield tree, field, new
                yield from faults(child)


def _is_skipped(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name)):
            return name in SKIPPED_CALLS
        case ast.keyword(arg="strict"):
            return True
    return isinstance(node, SKIPPED)


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    """Yields what may stand in the place of a node."""
    match node:
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int()):
            yield ast.Constant(node.value + 1)
        case ast.Constant(value=float()):
            yield ast.Constant(2 * node.value if node.value else 1.0)
        case ast.Compare(ops=[op]) if type(op) in SWAPS:
            yield ast.Compare(node.left, [SWAPS[type(op)]()], node.comparators)
        case ast.BinOp(op=op) if type(op) in SWAPS and not isinstance(node.left, ast.JoinedStr):
            yield ast.BinOp(node.left, SWAPS[type(op)](), node.right)
        case ast.BoolOp():
            yield ast.BoolOp(SWAPS[type(node.op)](), node.values)
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.IfExp():
            yield ast.IfExp(node.test, node.orelse, node.body)
        case ast.If():
            yield ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
        case ast.Expr(value=ast.Call()) | ast.AugAssign():
            yield ast.Pass()
        case ast.Call(keywords=[*_, _]):
            for keyword in (k for k in node.keywords if k.arg and not _is_skipped(k)):
                rest = [k for k in node.keywords if k is not keyword]
                yield ast.Call(node.func, node.args, rest)


def mutant(source: str, number: int) -> tuple[str, int, str, str]:
    """Returns the source with a fault, its line, and its text before and after."""
    tree = ast.parse(source)
    parent, field, new = next(x for i, x in enumerate(faults(tree)) if i == number)
    old, value = new.replaced, getattr(parent, field)
    before, after = (" ".join(ast.unparse(node).split())[:200] for node in (old, new))
    if isinstance(value, list):
        value[next(i for i, child in enumerate(value) if child is old)] = new
    else:
        setattr(parent, field, new)
    return ast.unparse(ast.fix_missing_locations(tree)), old.lineno, before, after


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
    """Returns the paths of the tests of a file, those that are named after it first."""
    part, stem = Path(file).parts[1], Path(file).stem
    folders = [f"tests/{name}" for name in TESTS[part]]
    own = sorted((root / folders[0]).rglob(f"test_{stem}*.py"))
    return [str(path.relative_to(root)) for path in own] + folders


def run_tests(root: Path, paths: list[str]) -> tuple[str, str]:
    """Runs tests until one fails; returns the result and the name of the test that failed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow and not real_data"]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    try:
        done = subprocess.run(
            [*command, "-p", "no:cacheprovider", *paths],
            cwd=root, env=environment, capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "timeout", ""
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return ("survived" if done.returncode == 0 else "killed"), (failed or [""])[0]


def main() -> int:
    """Runs the command line; returns 1 if a test fails without a fault."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=100, help="how many faults are drawn")
    parser.add_argument("--seed", type=int, default=0, help="draws the faults")
    parser.add_argument("--out", type=Path, required=True, help="folder for mutants.csv")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    table = options.out / "mutants.csv"
    lines = [*csv.DictReader(table.open())] if table.exists() else []
    known = {int(line["number"]) for line in lines}
    sound = {line["test"] for line in lines}  # pass without a fault
    with tempfile.TemporaryDirectory() as folder, table.open("a", newline="") as file:
        root = Path(folder) / "netzoo"
        shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(".*_cache", ".git", ".venv"))
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
