"""The thresholds of a multi-label run: the smallest probability at which it predicts each class.

`netzoo eval --thresholds` chooses thresholds on the validation split and stores them. Every later
evaluation and prediction with the same weights uses the stored thresholds.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from netzoo.console import json_text
from netzoo.errors import UserError
from netzoo.files import write_text
from netzoo.json_files import read_json

THRESHOLDS_FILE = "thresholds.json"
_SHAPE = {"thresholds": [float], "checkpoint": str, "step": int}


def save_thresholds(
    workdir: Path, thresholds: np.ndarray, checkpoint: str, step: int, split: str
) -> None:
    """Write the thresholds of the weights `checkpoint` at `step`, chosen on `split`."""
    values = {"thresholds": thresholds.tolist(), "checkpoint": checkpoint, "step": step}
    text = json_text({**values, "chosen_on": split}, pretty=True)
    write_text(workdir / THRESHOLDS_FILE, text + "\n")


def stored_thresholds(
    workdir: Path, checkpoint: str, step: int, class_names: Sequence[str]
) -> np.ndarray | None:
    """Return the stored thresholds of these weights of a run; None without any.

    Raises:
      UserError: The file is damaged.
    """
    path = workdir / THRESHOLDS_FILE
    if not path.exists():
        return None
    stored = read_json(path, _SHAPE)
    values = np.array(stored["thresholds"])
    if values.shape != (len(class_names),) or not ((values >= 0) & (values <= 1)).all():
        raise UserError(f"{path} is damaged: expected {len(class_names)} numbers from 0 to 1")
    of_these = (stored["checkpoint"], stored["step"]) == (checkpoint, step)
    return values if of_these else None
