"""Compares the runs of a sweep by their validation scores."""

import statistics
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from netzoo.cli.sweep import figure
from netzoo.cli.sweep.execute import State
from netzoo.cli.sweep.runs import Run, Sweep, label
from netzoo.config import flatten
from netzoo.config.tasks import task_module
from netzoo.console import print_table
from netzoo.csv_files import write_csv
from netzoo.errors import note
from netzoo.workdir import METRICS_FILE
from netzoo.workdir.metrics_log import read_metrics, training_seconds

TABLE_FILE, RUNS_FILE, FIGURE_FILE = "table.csv", "runs.csv", "table.png"
# Runs that differ only in these keys repeat an experiment; their scores are averaged.
REPEATED = ("seed", "data.fold", "data.fold_seed")


class Result(NamedTuple):
    """What a run has reached; its scores are on the validation split."""

    run: Run
    axes: dict[str, str]  # what tells the runs apart besides `repeated`: values by title
    repeated: dict[str, str]  # values of `REPEATED` by key
    status: str  # "finished", "failed" or "unfinished"
    epoch: float  # of the last evaluation; 0 before the first
    score: float | None  # of the last evaluation
    best: float | None  # the highest
    seconds: float  # of training


def show_table(sweep: Sweep, workdir: Path) -> None:
    """Print a table of the sweep, best first; write it as CSV, with a figure and a CSV of all runs.

    A score is the main metric on the validation split at the end of a run, for its last weights or,
    if it keeps one, the average of its weights. The table has mean and standard deviation over
    finished runs that differ only in `REPEATED`, and the same for the differences from the first
    variant of the file, each between two runs with the same seed and fold. The test split is never
    read.
    """
    config = sweep.runs[0].config
    metric = task_module(config.task, "task").task_class(config).main_metric
    results = _results(sweep, workdir, metric)
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        groups.setdefault(tuple(result.axes.values()), []).append(result)
    first = next(iter(groups.values()))
    rows = [_row(group, first) for group in groups.values()]
    rows.sort(key=lambda row: -1.0 if row["mean"] is None else row["mean"], reverse=True)
    score = f"validation {metric}, %"
    numbers = (score, "difference, points", "best epoch, %", "finished", "time of a run")
    shown = [[*(row[title] for title in results[0].axes), *_cells(row)] for row in rows]
    print_table((*results[0].axes, *numbers), shown, right=numbers)
    _write(workdir / TABLE_FILE, rows)
    _write(workdir / RUNS_FILE, [_run_row(result) for result in results])
    order = [tuple(row[title] for title in results[0].axes) for row in rows]
    scores = {_name(groups[axes]): _by_repeat(groups[axes]) for axes in order}
    figure.draw(scores, score, workdir / FIGURE_FILE)
    for result in results:
        if result.status == "failed":
            note(f"{result.run.name}: {State.load(workdir).failed[result.run.name]}")


def _results(sweep: Sweep, workdir: Path, metric: str) -> list[Result]:
    state = State.load(workdir)
    values = [flatten(run.config) for run in sweep.runs]
    varying = [key for key in sweep.axes if len({repr(each.get(key)) for each in values}) > 1]
    results = []
    for run, own in zip(sweep.runs, values, strict=True):
        axes = {"row": run.row} if run.row else {}
        cells = {key: str(own.get(key)) for key in varying}
        repeated = {key: cells.pop(key) for key in REPEATED if key in cells}
        axes |= {label(run.config, key): text for key, text in cells.items()}
        failed = "failed" if run.name in state.failed else "unfinished"
        status = "finished" if state.is_finished(run.name, workdir) else failed
        results.append(Result(run, axes, repeated, status, *_scores(workdir / run.name, metric)))
    return results


def _scores(folder: Path, metric: str) -> tuple[float, float | None, float | None, float]:
    """Return the last fields of `Result` from the log of a run."""
    path, name = folder / METRICS_FILE, f"validation_{metric}"
    if not path.exists():
        return 0.0, None, None, 0.0
    timing = {"timing": {"process": str, "wall_seconds": float}}
    seconds = training_seconds(read_metrics(path, timing, kind="train"))
    lines = read_metrics(path, {name: (float, None)}, kind="eval")
    scores = [line[name] for line in lines if line[name] is not None]
    if not lines:
        return 0.0, None, None, seconds
    return lines[-1]["epoch"], lines[-1][name], max(scores, default=None), seconds


def _name(group: Sequence[Result]) -> str:
    """Return the name of a variant in the figure."""
    axes = group[0].axes
    return ", ".join(text if title == "row" else f"{title} {text}" for title, text in axes.items())


def _by_repeat(group: Sequence[Result]) -> dict[str, float]:
    """Return the scores of the finished runs of a variant by their seed and fold."""
    return {
        ", ".join(f"{label(result.run.config, k)} {text}" for k, text in result.repeated.items()): (
            result.score
        )
        for result in group
        if result.status == "finished" and result.score is not None
    }


def _row(group: Sequence[Result], first: Sequence[Result]) -> dict[str, Any]:
    """Return the row of the table for runs that are averaged, compared with the first variant."""
    done = [result for result in group if result.status == "finished"]
    scores, others = _by_repeat(group), {} if group is first else _by_repeat(first)
    differences = [score - others[repeat] for repeat, score in scores.items() if repeat in others]
    best = [result.best for result in done if result.best is not None]
    return {
        **group[0].axes,
        "mean": statistics.fmean(scores.values()) if scores else None,
        "deviation": _deviation([*scores.values()]),
        "lowest": min(scores.values(), default=None),
        "highest": max(scores.values(), default=None),
        "difference": statistics.fmean(differences) if differences else None,
        "difference_deviation": _deviation(differences),
        "best_epoch_mean": statistics.fmean(best) if best else None,
        "finished": len(done),
        "runs": len(group),
        "seconds": statistics.fmean(result.seconds for result in done) if done else None,
    }


def _deviation(numbers: Sequence[float]) -> float | None:
    return statistics.stdev(numbers) if len(numbers) > 1 else None


def _cells(row: Mapping[str, Any]) -> list[str]:
    seconds = row["seconds"]
    return [
        _with_deviation(row["mean"], row["deviation"]),
        _with_deviation(row["difference"], row["difference_deviation"], "+"),
        _with_deviation(row["best_epoch_mean"], None),
        f"{row['finished']} of {row['runs']}",
        "-" if seconds is None else str(timedelta(seconds=round(seconds))),
    ]


def _with_deviation(value: float | None, deviation: float | None, sign: str = "") -> str:
    if value is None:
        return "-"
    spread = "" if deviation is None else f" ± {100 * deviation:.2f}"
    return f"{100 * value:{sign}.2f}{spread}"


def _run_row(result: Result) -> dict[str, Any]:
    return {
        "run": result.run.name,
        **result.axes,
        **result.repeated,
        "status": result.status,
        "epoch": result.epoch,
        "score": result.score,
        "best_epoch_score": result.best,
        "seconds": result.seconds,
    }


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    write_csv(path, rows[0].keys(), (row.values() for row in rows))
