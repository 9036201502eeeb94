"""Figures of image classification: confusion matrix and sheet of predictions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from netzoo import figures
from netzoo.errors import UserError
from netzoo.figures import BLUE, FAINT, INK, MUTED, PLAIN, RED, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RIGHT, _WRONG = ("#8fb5d6", BLUE), ("#e9ab9d", RED)
_MOST_NUMBERED, _MOST_NAMED = 20, 120
_MOST_IMAGES = 300


def confusion_matrix(
    confusion: np.ndarray, class_names: Sequence[str], path: str | os.PathLike[str], title: str
) -> None:
    """Draw a confusion matrix into a file; see `confusion_figure`."""
    figures.save(confusion_figure(confusion, class_names, title), path)


def confusion_figure(confusion: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """Draw a confusion matrix, with the recall of each class beside its row.

    The colour shows the share of the row (the true class), blue on the diagonal and red off it, on
    a square-root scale that shows rare confusions. Up to 20 classes, cells show counts; with more
    classes, a colour scale replaces the counts. Up to 120 classes, rows have names and recalls. The
    size of the figure depends on the number of classes.
    `confusion` holds counts `[C, C]`; rows are true classes, columns are predicted classes.
    """
    classes, support = len(class_names), confusion.sum(axis=1)
    shares = confusion / np.maximum(support, 1)[:, None]
    cell = float(np.clip(9 / classes, 0.145, 0.9)) if classes <= _MOST_NAMED else 8 / classes
    size = float(np.clip(cell * 38, 6, 10))
    side = cell * classes
    figure = figures.new_figure(max(side + 3.5, 5), side + 2.2, title)
    # Without this, the label of the lower colour scale touches the edge.
    figure.set_layout_engine("constrained", rect=(0, 0.005, 1, 0.995))
    axes = figure.subplots()
    diagonal = np.eye(classes, dtype=bool)
    for colors, hidden, label in ((_RIGHT, ~diagonal, "right"), (_WRONG, diagonal, "wrong")):
        image = figures.heat_map(axes, np.ma.masked_where(hidden, shares), *colors)
        if classes > _MOST_NUMBERED:
            figure.colorbar(
                image,
                ax=axes,
                label=label,
                location="bottom",
                shrink=0.4,
                aspect=40,
                ticks=figures.SHARE_TICKS,
            )
    accuracy = np.trace(confusion) / max(confusion.sum(), 1)
    note = f"{accuracy:.1%} of {confusion.sum():,} correct; colour is the share of the row"
    axes.set_title(note, loc="left", color=MUTED, fontsize=9)
    axes.set_xlabel("predicted", color=MUTED, fontsize=9)
    axes.set_ylabel("true", color=MUTED, fontsize=9)
    axes.set(xticks=[], yticks=[])
    if classes <= _MOST_NAMED:
        recalls = zip(np.diag(shares), support, strict=True)
        texts = [f"{recall:.1%}" if count else "no images" for recall, count in recalls]
        _name_classes(axes, class_names, texts, size)
    if classes <= _MOST_NUMBERED:
        figures.separate_cells(axes, classes, classes, linewidth=1.5)
        for row, column in zip(*np.nonzero(confusion), strict=True):
            style: dict[str, Any] = {"fontsize": size, "ha": "center", "va": "center"}
            style["color"] = "white" if shares[row, column] > 0.42 else INK
            axes.text(column, row, confusion[row, column], **style)
    figures.hide_frame(axes)
    return figure


def _name_classes(
    axes: Axes, class_names: Sequence[str], recalls: Sequence[str], size: float
) -> None:
    places = range(len(class_names))
    names = [shorten(str(name), 24) for name in class_names]
    turned = len(names) * max(map(len, names)) > 70
    axes.set_xticks(places, names, rotation=90 if turned else 0, fontsize=size, **PLAIN)
    axes.set_yticks(places, names, fontsize=size, **PLAIN)
    right = axes.secondary_yaxis("right")
    right.set_yticks(places, recalls, fontsize=size, color=INK)
    right.set_ylabel("recall", color=MUTED, fontsize=9)
    figures.hide_frame(right)


def reliability_diagram(
    calibrations: Mapping[str, Mapping[str, Any]], path: str | os.PathLike[str], title: str
) -> None:
    """Draw accuracy over confidence into a file; see `reliability_figure`."""
    figures.save(reliability_figure(calibrations, title), path)


def reliability_figure(calibrations: Mapping[str, Mapping[str, Any]], title: str) -> Figure:
    """Draw accuracy over confidence; on the diagonal, the two agree.

    `calibrations` maps labels, such as "as trained", to results of
    `netzoo.tasks.classification.calibration.calibration`. The area of a dot grows with the number
    of examples in its bin.
    """
    figure = figures.new_figure(5.2, 5.4, title)
    axes = figure.subplots()
    axes.plot((0, 1), (0, 1), color=FAINT, linewidth=1.5, zorder=0)
    for color, (name, found) in zip((BLUE, RED), calibrations.items(), strict=False):
        count, confidence, accuracy = zip(*(b for b in found["bins"] if b[0]), strict=True)
        error = found["expected_calibration_error"]
        label = f"{name}: expected calibration error {error:.1%}"
        axes.plot(confidence, accuracy, color=color, linewidth=1, label=label)
        sizes = 12 + 400 * np.asarray(count) / sum(count)
        axes.scatter(confidence, accuracy, s=sizes, color=color, alpha=0.5, linewidths=0)
    axes.set(xlim=(0, 1.03), ylim=(0, 1.03), aspect="equal")
    axes.tick_params(labelsize=9, pad=6)
    axes.set_xlabel("confidence", color=MUTED, fontsize=9)
    axes.set_ylabel("accuracy", color=MUTED, fontsize=9)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    figures.hide_frame(axes)
    return figure


def prediction_sheet(
    images: Sequence[np.ndarray],
    rows: Sequence[tuple[str, Sequence[tuple[str, float]]]],
    path: str | os.PathLike[str],
) -> None:
    """Draw each image beside its most probable classes into a file; see `prediction_figure`.

    Raises:
      UserError: There are more than 300 images, too many for viewers.
    """
    if len(images) > _MOST_IMAGES:
        raise UserError(
            f"{path} was not written: expected at most {_MOST_IMAGES} images, got {len(images)}; "
            "pass fewer images"
        )
    figures.save(prediction_figure(images, rows), path)


def prediction_figure(
    images: Sequence[np.ndarray], rows: Sequence[tuple[str, Sequence[tuple[str, float]]]]
) -> Figure:
    """Draw each image beside its most probable classes.

    Args:
      images: At least one uint8 array `[height, width, 3]`; sizes may differ.
      rows: For each image, its caption (e.g. the file name) and its (class name, probability)
        pairs, most probable first.
    """
    columns = 1 if len(images) == 1 else 2 if len(images) <= 8 else 3
    lines = -(-len(images) // columns)
    height = max(2.3, 0.4 * max(len(scores) for _, scores in rows) + 0.6)
    # Fixed positions, because the constrained layout takes minutes for 600 panels.
    figure = figures.new_figure(4.6 * columns, height * lines, "", layout="none")
    panels = figure.subplots(lines, 2 * columns, squeeze=False)
    figure.subplots_adjust(0.02, 0.01, 0.98, 1 - 0.3 / (height * lines), wspace=0.1, hspace=0.15)
    for axes in panels.flat:
        axes.set_axis_off()
    for pair, image, (caption, scores) in zip(panels.reshape(-1, 2), images, rows, strict=False):
        pair[0].imshow(image)
        pair[0].set_anchor("NW")
        style = PLAIN | {"color": MUTED, "fontsize": 8}  # a text, because titles are slow to place
        pair[1].text(0, 1.02, shorten(caption, 34), transform=pair[1].transAxes, **style)
        _draw_scores(pair[1], scores, height / 0.4)
    return figure


def _draw_scores(axes: Axes, scores: Sequence[tuple[str, float]], places: float) -> None:
    for row, (name, value) in enumerate(scores):
        axes.barh(row + 0.3, 1, height=0.16, color=FAINT)
        axes.barh(row + 0.3, value, height=0.16, color=MUTED if row else BLUE)
        style = PLAIN | {"color": MUTED if row else INK, "fontsize": 9, "va": "center"}
        style["weight"] = "normal" if row else "bold"
        axes.text(0, row - 0.08, shorten(name, 18), ha="left", **style)
        axes.text(1, row - 0.08, f"{value:.1%}", ha="right", **style)
    axes.set(xlim=(0, 1), ylim=(places - 0.5, -0.5))
