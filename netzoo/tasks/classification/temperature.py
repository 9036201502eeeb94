"""The temperature of a run, which corrects its confidences.

`netzoo eval --split validation --temperature fit` fits it. Every later evaluation and prediction
with the same weights then uses it.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from netzoo.console import json_text
from netzoo.errors import UserError
from netzoo.files import write_text
from netzoo.json_files import read_json
from netzoo.paths import run_path
from netzoo.tasks.classification.calibration import fit_temperature
from netzoo.tasks.classification.report import kept_rows

TEMPERATURE_FILE = "temperature.json"
FIT = "fit"
_SHAPE = {"temperature": float, "checkpoint": str, "step": int}
_LARGEST = 100.0


def new_temperature(
    wanted: Sequence[str], split: str, rows: dict[str, np.ndarray]
) -> tuple[float, list[str]]:
    """Return a temperature, and the split or the runs that it comes from.

    `wanted` is ("fit",) or names of runs; `rows` are the logits and labels of `split`.

    Raises:
      UserError: A run lacks a temperature, or a logit is not finite.
    """
    if tuple(wanted) == (FIT,):
        return fit_temperature(*kept_rows(rows)), [split]
    return mean_temperature(wanted), [*wanted]


def save_temperature(
    workdir: Path, temperature: float, checkpoint: str, step: int, fitted_on: Sequence[str]
) -> None:
    """Write the temperature of the weights `checkpoint` at `step` into a run.

    `fitted_on` names the split, or the runs whose mean it is.
    """
    values = {"temperature": temperature, "checkpoint": checkpoint, "step": step}
    text = json_text({**values, "fitted_on": [*fitted_on]}, pretty=True)
    write_text(workdir / TEMPERATURE_FILE, text + "\n")


def stored_temperature(workdir: Path, checkpoint: str, step: int) -> float | None:
    """Return the temperature of these weights of a run, None if it has none.

    Raises:
      UserError: The file is damaged.
    """
    if not (workdir / TEMPERATURE_FILE).exists():
        return None
    stored = _read(workdir)
    of_these = (stored["checkpoint"], stored["step"]) == (checkpoint, step)
    return stored["temperature"] if of_these else None


def mean_temperature(runs: Sequence[str]) -> float:
    """Return the geometric mean of the temperatures of several runs, such as those of the folds.

    Raises:
      UserError: A run has no temperature.
    """
    folders = [run_path(run) for run in runs]
    for folder in folders:
        if not (folder / TEMPERATURE_FILE).exists():
            raise UserError(
                f"{folder} has no temperature; fit it: netzoo eval --workdir {folder} --split "
                f"validation --temperature {FIT}"
            )
    logs = [math.log(_read(folder)["temperature"]) for folder in folders]
    return math.exp(math.fsum(logs) / len(logs))


def _read(workdir: Path) -> dict[str, Any]:
    path = workdir / TEMPERATURE_FILE
    stored = read_json(path, _SHAPE)
    if not 1 / _LARGEST <= stored["temperature"] <= _LARGEST:
        raise UserError(
            f"{path} is damaged: expected a temperature in [{1 / _LARGEST:g}, {_LARGEST:g}], got "
            f"{stored['temperature']:g}"
        )
    return stored
