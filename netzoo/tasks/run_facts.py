"""What a report says about a run besides its scores: command, curves, speed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from netzoo.json_files import read_json
from netzoo.tasks.curves import curves_figure
from netzoo.workdir import ENVIRONMENT_FILE, METRICS_FILE
from netzoo.workdir.metrics_log import read_metrics, training_seconds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ENVIRONMENT = {"command?": str, "parameters?": int, "machine?": {"cpu?": (str, None)}}
_TIMING = {"timing": {"process": str, "wall_seconds": float}}


class RunFacts(NamedTuple):
    """The facts of a run and of its evaluation."""

    network: str  # name of the network
    data: str  # source of the evaluated examples
    workdir: str
    validation_split: str | None  # of the run
    metric: str  # main metric of the task
    command: str  # shell line of the evaluation
    seconds: float  # of the evaluation, with compilation
    environment: Mapping[str, Any]  # contents of environment.json; empty if the run has none
    train: Sequence[Mapping[str, Any]]  # the "train" lines of the log
    lines: Sequence[Mapping[str, Any]]  # all lines of the log

    @classmethod
    def read(cls, workdir: Path, **facts: Any) -> RunFacts:
        """Read the files of a run; `facts` are the fields that they do not hold.

        Raises:
          UserError: A file is damaged.
        """
        environment, log = workdir / ENVIRONMENT_FILE, workdir / METRICS_FILE
        return cls(
            **facts,
            workdir=str(workdir),
            environment=read_json(environment, _ENVIRONMENT) if environment.exists() else {},
            train=read_metrics(log, _TIMING, "train") if log.exists() else [],
            lines=read_metrics(log) if log.exists() else [],
        )

    @property
    def training_minutes(self) -> float:
        """Minutes of training; 0 without a log."""
        return training_seconds(self.train) / 60

    def rate(self, unit: str) -> float | None:
        """Return the median throughput of training in `unit` per second, None without a log."""
        rates = (line["timing"].get(f"{unit}_per_second") for line in self.train)
        known = [rate for rate in rates if isinstance(rate, int | float)]
        return statistics.median(known) if known else None

    def curves(self) -> Figure | None:
        """Return the training curves, None without a log."""
        return curves_figure(self.lines, "", self.metric)
