"""Compares the evaluations of two networks on the same images."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from netzoo.data.source import Source, example_name
from netzoo.errors import UserError, printable
from netzoo.json_files import read_json
from netzoo.tasks.classification.comparison import mcnemar, paired_bootstrap
from netzoo.tasks.classification.predictions import (
    PREDICTIONS_FILE,
    Prediction,
    read_predictions,
)
from netzoo.workdir import EVAL_FILE

_RATIO = (float, None)
_SHAPE = {
    **{"accuracy": float, "interval": [float, float], "macro_recall": float, "left_out": int},
    "per_class": [{"name": str, "recall": _RATIO}],
    "calibration?": {"expected_calibration_error": float},
}
SIGNIFICANT = 0.05


class Evaluation(NamedTuple):
    """An evaluation that an earlier command wrote."""

    folder: str
    scores: dict[str, Any]  # the contents of eval.json
    predictions: dict[str, Prediction]  # by the name of the example


def read_evaluation(folder: Path, source: Source, class_names: Sequence[str]) -> Evaluation:
    """Read the evaluation in a folder, and check that it is on the images of `source`.

    Raises:
      UserError: The folder holds no evaluation with predictions, or one of other images or classes.
    """
    for name in (EVAL_FILE, PREDICTIONS_FILE):
        if not (folder / name).exists():
            raise UserError(
                f"cannot compare with {folder}: it has no {name}; evaluate that run first: "
                f"netzoo eval --workdir {folder}"
            )
    scores = read_json(folder / EVAL_FILE, _SHAPE)
    rows = {row.name: row for row in read_predictions(folder / PREDICTIONS_FILE)}
    own = [printable(example_name(source, index)) for index in range(len(source))]
    images = f"{source.name} {source.split} ({len(own):,} images)"
    if unknown := [name for name in rows if name not in {*own}]:
        raise UserError(
            f"cannot compare with {folder}: it was evaluated on other images. {unknown[0]} and "
            f"{len(unknown) - 1:,} more are not in {images}; evaluate both on the same split"
        )
    missing = [name for name in own if name not in rows]
    if len(missing) > scores["left_out"]:
        raise UserError(
            f"cannot compare with {folder}: it was evaluated on {len(rows):,} of {images}; "
            f"{missing[0]} is missing; evaluate both on the same split"
        )
    theirs, ours = ({*map(printable, names)} for names in (_names(scores), class_names))
    if theirs != ours:
        raise UserError(
            f"cannot compare with {folder}: its classes are {', '.join(sorted(theirs))}; expected "
            f"{', '.join(sorted(ours))}"
        )
    return Evaluation(str(folder), scores, rows)


def _names(scores: Mapping[str, Any]) -> list[str]:
    return [entry["name"] for entry in scores["per_class"]]


def compare(other: Evaluation, names: Sequence[str], right: np.ndarray) -> dict[str, Any]:
    """Return the comparison of an evaluation with another one.

    Differences are this evaluation minus the other one.

    Args:
      other: The other evaluation.
      names: Names of the evaluated examples.
      right: Whether each example is classified correctly, bool `[n]`.

    Returns:
      A JSON-serialisable dictionary: `with` (the other folder), `accuracy`, `interval`,
      `macro_recall`, `expected_calibration_error` (perhaps None) and `recalls` (by class) of the
      other, `count` (images that both read), `difference` of the accuracies on these images and its
      95 % interval (`difference_interval`), `right_here_alone` and `right_there_alone` (names of
      images), and the two-sided `p_value` of McNemar's exact test.
    """
    shown = [printable(name) for name in names]
    common = np.array([name in other.predictions for name in shown])
    shown = [name for name in shown if name in other.predictions]
    here = right[common]
    there = np.array([other.predictions[name].correct for name in shown], bool)
    scores, test = other.scores, mcnemar(here, there)
    return {
        "with": other.folder,
        **{name: scores[name] for name in ("accuracy", "interval", "macro_recall")},
        "expected_calibration_error": scores.get("calibration", {}).get(
            "expected_calibration_error"
        ),
        "recalls": {entry["name"]: entry["recall"] for entry in scores["per_class"]},
        "count": len(shown),
        "difference": float(here.mean() - there.mean()),
        "difference_interval": list(paired_bootstrap(here, there)),
        "right_here_alone": [shown[i] for i in np.flatnonzero(here & ~there)],
        "right_there_alone": [shown[i] for i in np.flatnonzero(there & ~here)],
        "p_value": test.p_value,
    }


def comparison_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a comparison for the terminal."""
    low, high = found["difference_interval"]
    yield (
        f"{found['with']}: accuracy {found['accuracy']:.2%}; difference "
        f"{100 * found['difference']:+.2f} points (95 % interval {100 * low:+.2f} to "
        f"{100 * high:+.2f}) on {found['count']:,} images"
    )
    here, there = len(found["right_here_alone"]), len(found["right_there_alone"])
    yield (
        f"right alone: {here:,} here, {there:,} there; McNemar's test p = {found['p_value']:.3g}: "
        f"{verdict(found['p_value'])}"
    )


def verdict(p_value: float) -> str:
    """Return what a p-value says about the difference of two networks."""
    if p_value < SIGNIFICANT:
        return "the difference is unlikely to be due to chance"
    return "the difference may be due to chance"
