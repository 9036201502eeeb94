"""Scores of multi-label predictions: average precision and F1, each by class and over classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from netzoo.errors import UserError
from netzoo.tasks.classification.ranking import precision_recall

DEFAULT_THRESHOLD = 0.5


def multi_label_scores(
    probabilities: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    thresholds: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the scores of predictions, JSON-serialisable.

    Args:
      probabilities: Float `[n, classes]`.
      labels: 1 for the classes of an image and 0 for the others, `[n, classes]`.
      class_names: The classes in label order.
      thresholds: Smallest probability of a predicted class, `[classes]`; None for 0.5.

    Returns:
      `mean_average_precision` over the classes with images; `micro_f1` over all decisions;
      `macro_f1`, the mean over the classes, where a class that neither occurs nor is predicted
      counts as 0, as in scikit-learn; `exact_match`, the share of images with all classes right;
      `count`; and `per_class`, a list of `name`, `average_precision`, `threshold`, `precision`,
      `recall`, `f1` and `support`. A ratio with denominator 0 is None.

    Raises:
      UserError: `probabilities` and `labels` are empty.
    """
    if not len(labels):
        raise UserError("no example was evaluated: the split is empty, or no image could be read")
    positive = labels > 0.5
    limits = np.full(len(class_names), DEFAULT_THRESHOLD) if thresholds is None else thresholds
    chosen = probabilities >= limits
    counts = np.stack([(chosen & positive).sum(0), positive.sum(0), chosen.sum(0)], axis=1)
    per_class = []
    for number, (name, (hits, support, predicted)) in enumerate(
        zip(class_names, counts.tolist(), strict=True)
    ):
        curve = precision_recall(probabilities[:, number], positive[:, number])
        entry = {
            "name": str(name),
            "average_precision": curve and curve.average_precision,
            "threshold": float(limits[number]),
            "precision": _ratio(hits, predicted),
            "recall": _ratio(hits, support),
            "f1": _ratio(2 * hits, support + predicted),
            "support": support,
        }
        per_class.append(entry)
    ranked = [e["average_precision"] for e in per_class if e["average_precision"] is not None]
    hits, support, predicted = counts.sum(0).tolist()
    return {
        "mean_average_precision": float(np.mean(ranked)) if ranked else None,
        "micro_f1": _ratio(2 * hits, support + predicted),
        "macro_f1": float(np.mean([entry["f1"] or 0.0 for entry in per_class])),
        "exact_match": float((chosen == positive).all(-1).mean()),
        "count": len(labels),
        "per_class": per_class,
    }


def best_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return, for each class, the threshold with the highest F1 on these predictions.

    Each threshold lies half-way between two neighbouring probabilities. A class without images gets
    0.5. `probabilities` and `labels` are those of `multi_label_scores`.
    """
    found = np.full(labels.shape[1], DEFAULT_THRESHOLD)
    for number, positive in enumerate((labels > 0.5).T):
        if not positive.any():
            continue
        scores = probabilities[:, number]
        order = np.argsort(-scores, kind="stable")
        last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
        hits = np.cumsum(positive[order])[last]
        best = int(np.argmax(2 * hits / (last + 1 + positive.sum())))
        values = np.append(scores[order][last], 0.0)
        found[number] = (values[best] + values[best + 1]) / 2
    return found


def score_cells(entry: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Return values of an entry of `per_class` as texts."""
    return ["-" if entry[name] is None else f"{entry[name]:.3f}" for name in names]


def _ratio(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator else None
