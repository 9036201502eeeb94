"""The leaderboard: the records of image classification, grouped into rows over seeds."""

import itertools
import json
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.ticker import LogLocator, NullLocator
from ml_collections import ConfigDict

from netzoo import figures
from netzoo.config import CONFIG_FILE, flatten, task_table
from netzoo.config.tasks import DEFAULT_TASK
from netzoo.console import markdown_table
from netzoo.errors import UserError
from netzoo.figures import BLUE, FAINT, INK, MUTED, shorten
from netzoo.json_files import read_json
from netzoo.tasks.classification.comparison import mcnemar, mean_and_spread, paired_bootstrap
from netzoo.tasks.classification.metrics import wilson_interval
from netzoo.tasks.classification.predictions import (
    PREDICTIONS_FILE,
    Prediction,
    read_predictions,
)
from netzoo.tasks.classification.record import RECORD, record_of
from netzoo.tasks.record import RECORD_FILE
from netzoo.workdir import EVAL_FILE

_LOG = {"evaluations": int, "different": int}
_ERROR = "expected_calibration_error"
_EVALUATION = {
    **{"class_names": [str], "calibration?": {_ERROR: float}},
    **{"temperature_scaled?": {_ERROR: float}, "without_duplicates?": {"accuracy": float}},
}
_COST = {"cores": (int, None), "devices": [str], "platform?": str}


class Run(NamedTuple):
    """A record of image classification."""

    name: str  # of its folder
    record: dict[str, Any]  # the contents of record.json
    config: dict[str, Any]  # the resolved configuration by key
    evaluation: dict[str, Any]  # the contents of eval.json
    predictions: list[Prediction]  # empty for records of earlier versions

    @property
    def objection(self) -> str | None:
        """Why the record does not follow the protocol, or None."""
        log = self.record.get("test_split_log")
        if log is None:
            return "made before the protocol"
        if log["different"] > 1:
            return f"the test split was evaluated in {log['different']} ways"
        return None

    @property
    def core_hours(self) -> float | None:
        """Hours of training times cores; None on accelerators."""
        machine = self.record["machine"]
        if machine.get("platform", "cpu") != "cpu" or machine["cores"] is None:
            return None
        return self.record["wall_seconds"] * machine["cores"] / 3600


class Row(NamedTuple):
    """The runs of one configuration, in the order of their seeds."""

    runs: tuple[Run, ...]
    multiply_adds: int | None  # for one image; None if unknown

    @property
    def first(self) -> Run:
        """The run with the lowest seed."""
        return self.runs[0]

    @property
    def accuracies(self) -> list[float]:
        """The test accuracy of every run."""
        return [run.record["accuracy"] for run in self.runs]

    @property
    def mean(self) -> float:
        """The mean test accuracy."""
        return mean_and_spread(self.accuracies)[0]

    @property
    def interval(self) -> tuple[float, float]:
        """The Wilson interval of the mean: every seed has the same test images."""
        images = self.first.record["num_examples"]
        return wilson_interval(self.mean * images, images)

    @property
    def core_hours(self) -> float | None:
        """The mean cost of a run."""
        hours = [run.core_hours for run in self.runs if run.core_hours is not None]
        return float(np.mean(hours)) if len(hours) == len(self.runs) else None

    @property
    def right(self) -> np.ndarray | None:
        """The share of seeds that classify each image correctly; None without predictions."""
        if not all(run.predictions for run in self.runs):
            return None
        return np.mean([[p.correct for p in run.predictions] for run in self.runs], axis=0)


def read_runs(results: Path) -> list[Run]:
    """Read all records of image classification in a folder.

    Raises:
      UserError: A record is damaged, or there is none.
    """
    runs = []
    for path in sorted(results.glob(f"*/{RECORD_FILE}")):
        folder = path.parent
        fields = read_json(path, {"task?": str})
        if fields.get("task", DEFAULT_TASK) != DEFAULT_TASK or record_of(fields) is not RECORD:
            continue
        shape = {**RECORD.shape(), "test_split_log?": _LOG, "command": str, "machine": _COST}
        config = read_json(folder / CONFIG_FILE, {"model": {"name": str}})
        predictions = folder / PREDICTIONS_FILE
        runs.append(
            Run(
                folder.name,
                read_json(path, shape),
                flatten(ConfigDict(config)),
                read_json(folder / EVAL_FILE, _EVALUATION),
                read_predictions(predictions) if predictions.exists() else [],
            )
        )
    if not runs:
        raise UserError(f"expected records in {results}/*/{RECORD_FILE}, found none")
    return runs


def rows_of(runs: Sequence[Run], multiply_adds: Callable[[Run], int | None]) -> list[Row]:
    """Group runs whose configurations differ in the seed alone; the best row comes first."""
    free = ("seed", *task_table(DEFAULT_TASK).free)
    groups: dict[str, list[Run]] = {}
    for run in runs:
        kept = {
            key: value
            for key, value in run.config.items()
            if key not in free and f"{key.partition('.')[0]}." not in free
        }
        same = (run.objection, run.record["init"], run.record["num_examples"], kept)
        groups.setdefault(json.dumps(same, sort_keys=True), []).append(run)
    rows = []
    for group in groups.values():
        ordered = sorted(group, key=lambda run: (run.record["seed"], run.name))
        rows.append(Row(tuple(ordered), multiply_adds(ordered[0])))
    return sorted(rows, key=lambda row: (-row.mean, row.first.name))


_COLUMNS = (
    ("network", False),
    ("start", False),
    ("pixels", True),
    ("recipe", False),
    ("seeds", True),
    ("accuracy, %", True),
    ("95 % interval", True),
    ("without duplicates, %", True),
    ("calibration error, %", True),
    ("parameters", True),
    ("multiply-adds", True),
    ("core hours", True),
    ("records", False),
)


def table(rows: Sequence[Row], folder: str, *, objections: bool = False) -> str:
    """Return rows as a Markdown table; `folder` is the path from the page to the records."""
    columns = (*_COLUMNS, ("why apart", False)) if objections else _COLUMNS
    lines = []
    for row in rows:
        cells = [*_cells(row), ", ".join(f"[{r.name}]({folder}/{r.name})" for r in row.runs)]
        lines.append([*cells, row.first.objection or ""] if objections else cells)
    return markdown_table(columns, lines)


def _cells(row: Row) -> list[str]:
    record = row.first.record
    mean, spread = mean_and_spread(row.accuracies)
    low, high = row.interval
    errors = [_mean(row, known, _ERROR) for known in ("calibration", "temperature_scaled")]
    without = _mean(row, "without_duplicates", "accuracy")
    macs = row.multiply_adds
    return [
        record["model"],
        record["init"],
        f"{record['image_size']}",
        f"{recipe(record['command'])}, {record['epochs']:g} epochs",
        ", ".join(f"{run.record['seed']}" for run in row.runs),
        f"{100 * mean:.2f}" + (f" ± {100 * spread:.2f}" if spread is not None else ""),
        f"{100 * low:.1f} to {100 * high:.1f}",
        "-" if without is None else f"{100 * without:.2f}",
        " → ".join(f"{100 * error:.1f}" for error in errors if error is not None) or "-",
        f"{record['parameters'] / 1e6:.2f} M",
        "-" if macs is None else f"{macs / 1e6:,.0f} M",
        _cost(row),
    ]


def _mean(row: Row, key: str, score: str) -> float | None:
    """Return the mean of a score below a key of `eval.json`, None if a run lacks it."""
    scores = [run.evaluation[key][score] for run in row.runs if key in run.evaluation]
    return float(np.mean(scores)) if len(scores) == len(row.runs) else None


def _cost(row: Row) -> str:
    if row.core_hours is not None:
        return f"{row.core_hours:.2f}"
    hours = np.mean([run.record["wall_seconds"] for run in row.runs]) / 3600
    return f"{hours:.2f} h on {', '.join(row.first.record['machine']['devices'])}"


def recipe(command: str) -> str:
    """Return the name of the configuration file of a training command."""
    try:
        words = iter(shlex.split(command))
    except ValueError:  # an unclosed quote
        words = iter(())
    for word in words:
        flag, _, value = word.partition("=")
        if flag == "--config":
            path, colon, argument = (value or next(words, "")).partition(":")
            return f"{Path(path).stem}{colon}{argument}"
    return "own"


def comparisons(rows: Sequence[Row]) -> str:
    """Return a Markdown table that compares each row with the next, on the same images.

    McNemar's test compares the lowest seeds, because it is for single networks.
    """
    columns = (
        *(("networks", False), ("difference of the means, points (95 % interval)", True)),
        *(("right alone", True), ("McNemar's p", True)),
    )
    lines = []
    for first, second in itertools.pairwise(rows):
        of_first, of_second = first.right, second.right
        same = len(_names(first) | _names(second)) == 1
        if of_first is None or of_second is None or not same:
            continue
        low, high = paired_bootstrap(of_first, of_second)
        alone = [np.array([p.correct for p in row.first.predictions]) for row in (first, second)]
        test = mcnemar(*alone)
        lines.append(
            [
                f"{first.first.name} and {second.first.name}",
                f"{100 * (first.mean - second.mean):.2f} ({100 * low:.2f} to {100 * high:.2f})",
                f"{test.first_alone} and {test.second_alone}",
                f"{test.p_value:.3f}",
            ]
        )
    return markdown_table(columns, lines) if lines else ""


def draw(rows: Sequence[Row], path: str | os.PathLike[str]) -> None:
    """Draw accuracy over core hours and over parameters, with the intervals as bars.

    Rows that do not follow the protocol are grey.
    """
    figure = figures.new_figure(11, 5, "Test accuracy over cost")
    costs: tuple[tuple[str, Callable[[Row], float | None]], ...] = (
        ("core hours of training", lambda row: row.core_hours),
        ("parameters, million", lambda row: row.first.record["parameters"] / 1e6),
    )
    grid = figure.subplots(1, 2, sharey=True)
    for axes, (title, cost) in zip(grid, costs, strict=True):
        for row in rows:
            if not (place := cost(row)):
                continue
            color = MUTED if row.first.objection else BLUE
            low, high = (100 * bound for bound in row.interval)
            axes.plot((place, place), (low, high), color=color, linewidth=1, alpha=0.6)
            axes.plot(place, 100 * row.mean, "o", color=color, markersize=5)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.tick_params(labelsize=9)
        axes.margins(x=0.15)
        axes.set_xlabel(title, color=MUTED, fontsize=9)
        axes.yaxis.set_major_formatter("{x:.0f} %")
        axes.grid(axis="y", color=FAINT, linewidth=0.8)
        figures.hide_frame(axes)
    figure.draw_without_rendering()
    for axes, (_, cost) in zip(grid, costs, strict=True):
        shown = [(row, place) for row in rows if (place := cost(row))]
        places = [(place, 100 * row.mean) for row, place in shown]
        names = [shorten(row.first.name, 28) for row, _ in shown]
        colors = [MUTED if row.first.objection else INK for row, _ in shown]
        figures.label_points(axes, places, names, colors)
    figures.save(figure, path)


def _names(row: Row) -> set[tuple[str, ...]]:
    return {tuple(p.name for p in run.predictions) for run in row.runs}
