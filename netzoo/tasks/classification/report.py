"""The report of a final evaluation: scores, predictions and figures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from netzoo.data.source import Source, example_name
from netzoo.errors import UserError
from netzoo.tasks.classification.calibration import calibration
from netzoo.tasks.classification.figures import confusion_matrix, reliability_diagram
from netzoo.tasks.classification.predictions import (
    PREDICTIONS_FILE,
    predictions,
    write_predictions,
)

CONFUSION_FIGURE = "confusion_matrix.png"
RELIABILITY_FIGURE = "reliability.png"


def report_of(
    source: Source,
    class_names: Sequence[str],
    title: str,
    confusion: np.ndarray,
    rows: dict[str, np.ndarray],
    temperature: float | None = None,
) -> tuple[dict[str, Any], Callable[[Path], None]]:
    """Return the scores, and a function that writes predictions and figures into a folder.

    Args:
      source: The evaluated examples.
      class_names: The classes in label order.
      title: Title of the figures.
      confusion: Counts `[C, C]`; see `netzoo.tasks.classification.metrics`.
      rows: `logits`, `label` and `mask` of all examples in order, perhaps with padding at the end;
        empty if they were not kept.
      temperature: What the logits are divided by for a second look at the calibration.
    """
    report: dict[str, Any] = {
        "confusion": confusion.tolist(),
        "class_names": list(class_names),
        "left_out": len(source) - int(confusion.sum()),
    }
    present = np.flatnonzero(rows.get("mask", ()))
    kept = len(present) > 0 and bool(np.isfinite(rows["logits"][present]).all())
    if kept:
        logits, labels = rows["logits"][present], rows["label"][present]
        report["calibration"] = calibration(logits, labels)
        if temperature is not None:
            scaled = calibration(logits, labels, temperature)
            report["temperature_scaled"] = {"temperature": temperature, **scaled}

    def write(folder: Path) -> None:
        if kept:
            examples = [example_name(source, int(index)) for index in present]
            probabilities = special.softmax(logits.astype(np.float64), axis=-1)
            found = predictions(examples, labels, probabilities, class_names)
            write_predictions(folder / PREDICTIONS_FILE, found)
            drawn = {"as trained": report["calibration"]}
            if temperature is not None:
                drawn[f"temperature {temperature:.2f}"] = report["temperature_scaled"]
            reliability_diagram(drawn, folder / RELIABILITY_FIGURE, title)
        confusion_matrix(confusion, class_names, folder / CONFUSION_FIGURE, title)

    return report, write


def kept_rows(rows: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits and labels of the evaluated examples, without padding.

    Raises:
      UserError: They were not kept, or a logit is not finite.
    """
    present = np.flatnonzero(rows.get("mask", ()))
    if not len(present) or not np.isfinite(rows["logits"][present]).all():
        raise UserError("no temperature can be fitted, because there are no finite logits")
    return rows["logits"][present], rows["label"][present]
