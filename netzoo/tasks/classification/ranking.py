"""Precision over recall: how well the probability of a class ranks the images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from netzoo import figures
from netzoo.figures import FAINT, MUTED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_CURVES = 8
_COLORS = (
    *("#1f5f99", "#c2513f", "#2a9d8f", "#b7791f", "#7a4fa3", "#4a7d2c", "#b83280", "#5f6b76"),
)


class Curve(NamedTuple):
    """Precision over recall for one class, one point for each threshold of its probability."""

    recall: np.ndarray  # increasing, from above 0 to 1
    precision: np.ndarray
    average_precision: float  # the precision at each threshold, weighted by the gain in recall


def precision_recall(scores: np.ndarray, positive: np.ndarray) -> Curve | None:
    """Return the curve of one class against all others, None without images of the class.

    A curve of precision shows rare classes more honestly than ROC, whose false-positive rate hides
    errors behind the many images of other classes.

    Args:
      scores: Probability of the class, float `[n]`.
      positive: Whether each image has the class, bool `[n]`.

    Source: J. Davis and M. Goadrich, "The Relationship Between Precision-Recall and ROC Curves",
      ICML 2006, section 1; the area is not interpolated.
    """
    if not positive.any():
        return None
    order = np.argsort(-scores, kind="stable")
    # Images with equal scores are on the same side of every threshold.
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(positive[order])[last]
    recall, precision = hits / positive.sum(), hits / (last + 1)
    area = float((np.diff(recall, prepend=0) * precision).sum())
    return Curve(recall, precision, area)


def precision_recall_figure(curves: list[Curve], colors: list[str]) -> Figure:
    """Draw curves in their colours; the caller names the classes beside the figure."""
    figure = figures.new_figure(5.2, 4.6, "")
    axes = figure.subplots()
    for curve, color in zip(curves, colors, strict=True):
        recall = np.concatenate([[0], curve.recall])
        precision = np.concatenate([curve.precision[:1], curve.precision])
        axes.plot(recall, precision, color=color, linewidth=1.8, drawstyle="steps-pre")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.03))
    axes.tick_params(labelsize=9, pad=6)
    axes.set_xlabel("recall", color=MUTED, fontsize=9)
    axes.set_ylabel("precision", color=MUTED, fontsize=9)
    axes.grid(color=FAINT, linewidth=0.8)
    figures.hide_frame(axes)
    return figure


def hardest_curves(
    probabilities: np.ndarray, positive: np.ndarray, per_class: list[dict[str, Any]]
) -> dict[str, Any]:
    """Set the average precision in each entry of `per_class`, and return the figure of a page.

    With many classes, the figure shows those with the lowest average precision. `probabilities` and
    `positive` are `[n, classes]`.
    """
    found = []
    for label, entry in enumerate(per_class):
        curve = precision_recall(probabilities[:, label], positive[:, label])
        if curve:
            entry["average_precision"] = curve.average_precision
            found.append((curve, entry))
    hardest = sorted(found, key=lambda pair: pair[0].average_precision)[:_MOST_CURVES]
    chosen = [pair for pair in found if any(pair[0] is curve for curve, _ in hardest)]
    colors = list(_COLORS[: len(chosen)])
    figure = precision_recall_figure([curve for curve, _ in chosen], colors)
    return {
        "precision_recall": figures.data_uri(figure),
        "legend": list(zip(colors, (entry for _, entry in chosen), strict=True)),
        "left_out_curves": len(found) - len(chosen),
    }
