"""The report of a final evaluation: scores, predictions and figures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from netzoo.data.duplicates import doubtful, read_pairs
from netzoo.data.source import Source, example_name
from netzoo.errors import UserError, printable
from netzoo.files import sha256_of
from netzoo.paths import user_path
from netzoo.progress import format_metric
from netzoo.tasks.classification.calibration import Temperature, calibration
from netzoo.tasks.classification.figures import confusion_matrix, reliability_diagram
from netzoo.tasks.classification.metrics import wilson_interval
from netzoo.tasks.classification.predictions import (
    PREDICTIONS_FILE,
    predictions,
    write_predictions,
)
from netzoo.tasks.classification.versus import comparison_lines

RATIOS = ("precision", "recall", "f1")
CONFUSION_FIGURE = "confusion_matrix.png"
RELIABILITY_FIGURE = "reliability.png"


def report_of(
    source: Source,
    class_names: Sequence[str],
    title: str,
    confusion: np.ndarray,
    rows: dict[str, np.ndarray],
    temperature: Temperature | None = None,
    duplicates: str | None = None,
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
      duplicates: A list that `netzoo check` wrote, for the accuracy without duplicates.
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
            value, split = temperature
            scaled = calibration(logits, labels, value)
            report["temperature_scaled"] = {"temperature": value, "suggested_by": split, **scaled}
        if duplicates is not None:
            names = [example_name(source, int(index)) for index in present]
            right = logits.argmax(-1) == labels
            report["without_duplicates"] = _without(user_path(duplicates), names, right)

    def write(folder: Path) -> None:
        if kept:
            examples = [example_name(source, int(index)) for index in present]
            probabilities = scipy.special.softmax(logits.astype(np.float64), axis=-1)
            found = predictions(examples, labels, probabilities, class_names)
            write_predictions(folder / PREDICTIONS_FILE, found)
            drawn = {"as trained": report["calibration"]}
            if temperature is not None:
                drawn[f"temperature {temperature.value:.2f}"] = report["temperature_scaled"]
            reliability_diagram(drawn, folder / RELIABILITY_FIGURE, title)
        confusion_matrix(confusion, class_names, folder / CONFUSION_FIGURE, title)

    return report, write


def _without(path: Path, names: Sequence[str], right: np.ndarray) -> dict[str, Any]:
    """Return the accuracy without the examples that the list at `path` makes doubtful."""
    left_out = doubtful(read_pairs(path), names)
    kept = np.array([printable(name) not in left_out for name in names])
    if not kept.any():
        raise UserError(f"{path} lists every evaluated image")
    correct, count = int(right[kept].sum()), int(kept.sum())
    return {
        "accuracy": correct / count,
        "interval": list(wilson_interval(correct, count)),
        "count": count,
        "left_out": sorted(left_out),
        "list_sha256": sha256_of(path),
    }


def _with_temperature(report: Mapping[str, Any]) -> str:
    """Return the calibration error with a temperature, in parentheses."""
    found = report.get("temperature_scaled")
    if not found:
        return ""
    split = found["suggested_by"]
    whose = (
        f"that {split} suggests; add --temperature fit to use it in predictions"
        if split
        else "of predictions"
    )
    error = f"{found['expected_calibration_error']:.2%}"
    return f" ({error} with the temperature {found['temperature']:.3f} {whose})"


def kept_rows(rows: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits and labels of the evaluated examples, without padding.

    Raises:
      UserError: They were not kept, or a logit is not finite.
    """
    present = np.flatnonzero(rows.get("mask", ()))
    if not len(present) or not np.isfinite(rows["logits"][present]).all():
        raise UserError(
            "a temperature or a comparison needs the logits of the split, which are missing or not "
            "finite"
        )
    return rows["logits"][present], rows["label"][present]


def class_rows(report: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield, for each class, its name, its `RATIOS` and the number of its images."""
    for entry in report["per_class"]:
        cells = ("-" if entry[name] is None else f"{entry[name]:.3f}" for name in RATIOS)
        yield entry["name"], *cells, str(entry["support"] or "no images")


def score_lines(report: Mapping[str, Any], top_k: int) -> Iterator[str]:
    """Yield lines with the scores of a report: the accuracy and, if it has them, others."""
    if report["left_out"]:
        yield f"{report['left_out']:,} corrupt images are left out"
    low, high = report["interval"]
    yield (
        f"accuracy {report['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%}), "
        f"top{top_k} {report[f'top{top_k}_accuracy']:.2%}, loss {format_metric(report['loss'])}, "
        f"{report['count']:,} images of {report['split']}"
    )
    yield from _further_scores(report)


def _further_scores(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each optional score of a report, such as the calibration."""
    if (balanced := f"{report['macro_recall']:.2%}") != f"{report['accuracy']:.2%}":
        yield f"balanced accuracy {balanced} (mean recall of the classes)"
    if found := report.get("without_duplicates"):
        yield (
            f"accuracy {found['accuracy']:.2%} without {len(found['left_out']):,} images that have "
            "a duplicate elsewhere or a second class"
        )
    if found := report.get("calibration"):
        yield (
            f"mean confidence {found['mean_confidence']:.2%}, expected calibration error "
            f"{found['expected_calibration_error']:.2%}{_with_temperature(report)}"
        )
    if found := report.get("comparison"):
        yield from comparison_lines(found)
