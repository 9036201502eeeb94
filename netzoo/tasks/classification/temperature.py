"""The temperature of a run, which corrects its confidences.

Every evaluation fits a temperature on validation images, and reports its effect. `netzoo eval
--temperature fit` also stores the temperature. Later evaluations and predictions with the same
weights then use the stored one.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from netzoo.console import json_text
from netzoo.errors import UserError, note
from netzoo.files import write_text
from netzoo.json_files import read_json
from netzoo.mesh import is_writer
from netzoo.paths import run_path
from netzoo.tasks.classification.calibration import Temperature, fit_temperature
from netzoo.tasks.classification.report import kept_rows
from netzoo.tasks.task import FIT

TEMPERATURE_FILE = "temperature.json"
_SHAPE = {"temperature": float, "checkpoint": str, "step": int}
_LARGEST = 100.0
_MOST_IMAGES = 1000  # enough for one number


def temperature_of(
    workdir: Path,
    wanted: Sequence[str],
    checkpoint: str,
    step: int,
    split: str,
    validation: Callable[[int | None], dict[str, np.ndarray]] | None,
) -> Temperature | None:
    """Return the temperature of the weights `checkpoint` at `step`; see `Task.fitted`.

    If `wanted` asks for a new temperature, the function stores it. Otherwise, the result is the
    stored temperature or, without one, the temperature that the validation split suggests.

    Raises:
      UserError: A run lacks a temperature, a logit is not finite, or a file is damaged.
    """
    if not wanted:
        stored = stored_temperature(workdir, checkpoint, step)
        if stored is not None:
            return Temperature(stored)
        return _suggested(split, validation) if validation else None
    if tuple(wanted) == (FIT,):
        assert validation is not None  # `evaluate_run` has checked it
        value, wanted = fit_temperature(*kept_rows(validation(None))), [split]
    else:
        value = mean_temperature(wanted)
    if is_writer():
        save_temperature(workdir, value, checkpoint, step, wanted)
    return Temperature(value)


def _suggested(
    split: str, validation: Callable[[int | None], dict[str, np.ndarray]]
) -> Temperature | None:
    """Return a temperature from at most `_MOST_IMAGES` images, to save time on a large split."""
    try:
        rows = validation(_MOST_IMAGES)
        return Temperature(fit_temperature(*kept_rows(rows)), suggested_by=split)
    except (OSError, UserError) as error:
        note(f"the report has no temperature from {split}: {error}")
        return None


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
                f"{folder} has no temperature; fit it: netzoo eval --workdir {folder} "
                f"--temperature {FIT}"
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
