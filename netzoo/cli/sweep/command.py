"""Trains runs that differ in some keys, one after the other, and compares their validation scores.

netzoo sweep FILE --workdir runs/sweep            # repeat it to continue a stopped sweep
netzoo sweep FILE --workdir runs/sweep --table    # only the table of the runs so far

FILE is a Python file whose function get_sweep returns the base configuration and the values to try
(docs/experiments.md). Each run has its own process, and its own folder in --workdir.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from netzoo.cli.arguments import Parser, typed_path
from netzoo.cli.sweep.execute import STATE_FILE, train_runs
from netzoo.cli.sweep.runs import Sweep, check_runs, read_sweep
from netzoo.cli.sweep.table import FIGURE_FILE, RUNS_FILE, TABLE_FILE, show_table
from netzoo.console import say
from netzoo.errors import UserError
from netzoo.lock import holder, try_lock
from netzoo.workdir import LOCK_FILE


def main(arguments: Sequence[str]) -> int | None:
    """Run the command line."""
    parser = Parser("netzoo sweep", description=__doc__, allow_abbrev=False)
    parser.add_argument("file", metavar="FILE", help="Python file with a function get_sweep")
    parser.add_argument("--workdir", type=typed_path, required=True, help="folder of the sweep")
    parser.add_argument(
        "--table", action="store_true", help="print the table of the runs so far; train nothing"
    )
    options = parser.parse_args(arguments)
    sweep, workdir = read_sweep(options.file), options.workdir
    if options.table:
        if not (workdir / STATE_FILE).exists():
            raise UserError(f"{workdir} holds no sweep; omit --table to start it")
        _show(sweep, workdir)
        return None
    _check_folder(workdir)
    check_runs(sweep.runs, workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    lock = workdir / LOCK_FILE
    held = try_lock(lock, "run one sweep at a time in this folder")
    if held is None:
        raise UserError(f"{workdir} is locked: {holder(lock)} runs a sweep there")
    with held:
        status = train_runs(sweep, workdir)
    _show(sweep, workdir)
    return status


def _check_folder(workdir: Path) -> None:
    """Raise a UserError if a folder holds something other than a sweep."""
    if not workdir.exists() or (workdir / STATE_FILE).exists():
        return
    if not workdir.is_dir() or any(name != LOCK_FILE for name in os.listdir(workdir)):
        raise UserError(f"{workdir} holds no sweep, but other files; give a new --workdir")


def _show(sweep: Sweep, workdir: Path) -> None:
    show_table(sweep, workdir)
    say(f"{workdir}: {TABLE_FILE} has this table, {FIGURE_FILE} a figure, {RUNS_FILE} every run")
