"""The pictures of a run: confusion matrix, training curves, prediction sheet.

Drawn with matplotlib's object interface alone, so that no backend, window or global state is
involved and a headless machine draws the same. Blue means right or the test split, red means
wrong, grey is context; lines and bars carry their labels and numbers themselves.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

INK, MUTED, FAINT = "#22303c", "#7d8995", "#e4e8ec"
BLUE, SKY, TEAL, RED = "#1f5f99", "#5b94c8", "#2a9d8f", "#c2513f"
_RIGHT = LinearSegmentedColormap.from_list("right", ["#f6f8fa", "#8fb5d6", BLUE])
_WRONG = LinearSegmentedColormap.from_list("wrong", ["#f6f8fa", "#e9ab9d", RED])
DPI = 150
_MOST_NUMBERED, _MOST_NAMED = 20, 120
_MOST_PICTURES = 300

# The splits that eval lines tell of, as the first part of a value's name: label, colour, line.
_SPLITS = {
    "train": ("train slice", TEAL, "-"),
    "validation": ("validation", SKY, (0, (4, 1.5))),
    "test": ("test", BLUE, "-"),
}


def confusion_matrix(
    confusion: np.ndarray, class_names: Sequence[str], path: str | os.PathLike[str], title: str
) -> None:
    """Draws who is taken for whom, with the recall of each class beside its row.

    Colour is the share of the row (the true class), blue on the diagonal and red off it, on a
    square-root scale that keeps rare confusions visible. The counts are written into the cells up
    to 20 classes; names and recalls stand beside the rows up to 120 classes. Beyond each limit
    they would be too small to read and are left out, and a colour scale takes the place of the
    counts. The picture grows with the number of classes.

    Args:
      confusion: counts [C, C], rows are true classes, columns predicted ones.
      class_names: C names.
      path: PNG to write.
      title: one line above the matrix.

    Raises:
      ValueError: the matrix is not square, or has not one name per class.
    """
    confusion = np.asarray(confusion)
    classes = len(class_names)
    if confusion.shape != (classes, classes):
        raise ValueError(
            f"expected a confusion matrix of shape {(classes, classes)} for {classes} class "
            f"names, found {confusion.shape}"
        )
    support = confusion.sum(axis=1)
    shares = confusion / np.maximum(support, 1)[:, None]
    names = [_shorten(str(name), 24) for name in class_names]
    named, numbered = classes <= _MOST_NAMED, classes <= _MOST_NUMBERED

    # Unnamed cells are a whole number of pixels wide, or else some would look wider than others.
    cell = float(np.clip(9 / classes, 0.145, 0.9)) if named else max(1200 // classes, 1) / DPI
    side = cell * classes
    size = float(np.clip(cell * 38, 6, 10))
    longest = max(map(len, names)) * size * 0.6 / 72 if named else 0.0
    turned = longest > cell
    left, right, top = longest + 0.55, 1.75 if named else 0.4, 1.2 if not numbered else 0.95
    bottom = (longest if turned else 0.15) + 0.6
    figure = Figure(figsize=(max(left + side + right, 5.0), bottom + side + top), dpi=DPI)
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    _draw_cells(axes, shares, confusion if numbered else None, size)
    if named:
        rotation = 90 if turned else 0
        style = {"fontsize": size, "color": INK, "parse_math": False}
        axes.set_xticks(range(classes), names, rotation=rotation, **style)
        axes.set_yticks(range(classes), names, **style)
        box = ((left + side + 0.12) / width, bottom / height, 0.7 / width, side / height)
        beside = figure.add_axes(box, sharey=axes)
        _draw_recalls(beside, shares, support, size, thick=min(0.5, 0.2 / cell))
    else:
        axes.set(xticks=[], yticks=[])
    _write_title(figure, title, left / width, height)
    accuracy = np.trace(confusion) / max(confusion.sum(), 1)
    note = f"{accuracy:.1%} of {confusion.sum():,} right; colour is the share of the row"
    figure.text(left / width, 1 - 0.62 / height, note, color=MUTED, fontsize=9, va="center")
    if not numbered:
        _draw_scale(figure, left, height - 0.93)
    figure.savefig(path, format="png")


def _draw_cells(axes: Axes, shares: np.ndarray, counts: np.ndarray | None, size: float) -> None:
    classes = len(shares)
    # The root makes rare confusions visible: on a straight scale a 4 % error is white.
    shade = np.sqrt(shares)
    picture = np.where(np.eye(classes, dtype=bool)[:, :, None], _RIGHT(shade), _WRONG(shade))
    axes.imshow(picture, interpolation="nearest", aspect="auto")
    axes.set(xlim=(-0.5, classes - 0.5), ylim=(classes - 0.5, -0.5))
    axes.set_xlabel("predicted", color=MUTED, fontsize=9)
    axes.set_ylabel("true", color=MUTED, fontsize=9)
    _strip(axes)
    if counts is None:
        return
    edges = np.arange(classes + 1) - 0.5
    axes.hlines(edges, -0.5, classes - 0.5, color="white", linewidth=1.5, clip_on=False)
    axes.vlines(edges, -0.5, classes - 0.5, color="white", linewidth=1.5, clip_on=False)
    for row, column in np.ndindex(*counts.shape):
        if counts[row, column]:
            color = "white" if shade[row, column] > 0.65 else INK
            text = f"{counts[row, column]}"
            axes.text(column, row, text, color=color, fontsize=size, ha="center", va="center")


def _draw_recalls(
    axes: Axes, shares: np.ndarray, support: np.ndarray, size: float, thick: float
) -> None:
    recalls, rows = np.diag(shares), np.arange(len(shares))
    axes.barh(rows, np.ones(len(rows)), height=thick, color=FAINT)
    axes.barh(rows, recalls, height=thick, color=BLUE)
    for row, recall in enumerate(recalls):
        text = f"{recall:.1%}" if support[row] else "no images"
        axes.text(1.08, row, text, color=INK, fontsize=size, va="center")
    axes.set_xlim(0, 1)
    _strip(axes)
    axes.tick_params(labelleft=False, labelbottom=False)
    axes.set_xlabel("recall", color=MUTED, fontsize=9)


def _draw_scale(figure: Figure, left: float, bottom: float) -> None:
    width, height = figure.get_size_inches()
    ramp = np.sqrt(np.linspace(0, 1, 64))[None]
    for index, (colors, label) in enumerate([(_RIGHT, "right"), (_WRONG, "wrong")]):
        box = ((left + 2.4 * index) / width, bottom / height, 1.0 / width, 0.1 / height)
        axes = figure.add_axes(box)
        axes.imshow(colors(ramp), aspect="auto")
        _strip(axes)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(67, 0, f"{label}, 0 to 100 %", color=MUTED, fontsize=8, va="center")


def training_curves(
    records: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
    title: str,
    metric: str = "accuracy",
) -> None:
    """Draws loss, main metric and learning rate of a run over its epochs.

    Args:
      records: the lines of metrics.jsonl. Train lines give `loss` and `learning_rate`; eval lines
        give any of `train_loss`, `validation_loss`, `test_loss` and the same with the metric, and
        `weights`, which is "ema" where the averaged weights were evaluated. What is missing or
        null is left out.
      path: PNG to write.
      title: one line above the panels.
      metric: the task's main metric, a fraction of 1.

    Raises:
      ValueError: there is no train line.
    """
    train = [record for record in records if record["kind"] == "train"]
    evals = [record for record in records if record["kind"] == "eval"]
    if not train:
        raise ValueError("expected at least one line of kind 'train' to draw, found none")
    figure = Figure(figsize=(14, 4), dpi=DPI)
    panels = figure.subplots(1, 3, width_ratios=(1, 1, 0.72))
    figure.subplots_adjust(left=0.04, right=0.985, top=0.77, bottom=0.13, wspace=0.5)
    _draw_losses(panels[0], train, evals)
    ends = _draw_curves(panels[1], evals, metric, "{:.1%}")
    panels[1].yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    if ends:
        _label_ends(panels[1], ends)
    else:
        panels[1].set_yticks([])
        panels[1].text(
            0.5,
            0.5,
            "no evaluation",
            color=MUTED,
            transform=panels[1].transAxes,
            ha="center",
            fontsize=9,
        )
    epochs, rates = _series(train, "learning_rate")
    panels[2].plot(epochs, rates, color=INK, linewidth=1.4)
    panels[2].set_ylim(bottom=0)
    panels[2].yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    last = max(record["epoch"] for record in records)
    averaged = " (EMA weights)" if evals and evals[-1].get("weights") == "ema" else ""
    names = ("Loss", metric.replace("_", " ").capitalize() + averaged, "Learning rate")
    for axes, name in zip(panels, names, strict=True):
        _dress(axes, name)
        axes.set_xlim(0, last)
    _write_title(figure, title, 0.04, 4)
    figure.savefig(path, format="png")


def _draw_losses(
    axes: Axes, train: Sequence[Mapping[str, Any]], evals: Sequence[Mapping[str, Any]]
) -> None:
    epochs, losses = _series(train, "loss")
    smooth = _smooth(losses)
    axes.plot(epochs, losses, color=MUTED, alpha=0.28, linewidth=0.7)
    axes.plot(epochs, smooth, color=MUTED, linewidth=1.4)
    ends = _draw_curves(axes, evals, "loss", "{:.3f}")
    if len(smooth):
        ends.append((epochs[-1], smooth[-1], f"train steps {smooth[-1]:.3f}", MUTED))
        drawn = [smooth[len(smooth) // 50 :]] + [
            _series(evals, f"{split}_loss")[1] for split in _SPLITS
        ]
        # The first steps and single bad ones may leave the panel: they would squeeze the rest flat.
        axes.set_ylim(0, 1.06 * max(values.max() for values in drawn if len(values)))
    _label_ends(axes, ends)


def _draw_curves(
    axes: Axes, evals: Sequence[Mapping[str, Any]], metric: str, form: str
) -> list[tuple[float, float, str, str]]:
    """Draws the eval curves that exist; returns where each ends, its label and colour."""
    ends = []
    for split, (label, color, style) in _SPLITS.items():
        epochs, values = _series(evals, f"{split}_{metric}")
        if len(values):
            marker = "o" if len(values) <= 15 else None
            axes.plot(
                epochs,
                values,
                color=color,
                linestyle=style,
                linewidth=1.6,
                marker=marker,
                markersize=3,
            )
            ends.append((epochs[-1], values[-1], f"{label} {form.format(values[-1])}", color))
    return ends


def _label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Writes each curve's label right of the panel, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    ends = sorted(ends, key=lambda end: end[1])
    gap, places = 0.075, [(value - low) / (high - low) for _, value, _, _ in ends]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    ceiling = 1.0
    for i in reversed(range(len(places))):
        places[i] = min(places[i], ceiling)
        ceiling = places[i] - gap
    style = {"fontsize": 8.5, "va": "center", "transform": axes.transAxes}
    for place, (_, _, text, color) in zip(places, ends, strict=True):
        axes.text(1.02, place, text, color=color, **style)


def _series(records: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    points = [(r["epoch"], r[name]) for r in records if r.get(name) is not None]
    return np.array([x for x, _ in points], float), np.array([y for _, y in points], float)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Centred moving average over a fortieth of the run; at the ends over what is there."""
    half = len(values) // 80
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    first, last = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (total[last] - total[first]) / (last - first)


def prediction_sheet(
    images: Sequence[np.ndarray],
    rows: Sequence[tuple[str, Sequence[tuple[str, float]]]],
    path: str | os.PathLike[str],
) -> None:
    """Draws each picture beside its most probable classes.

    Args:
      images: uint8 arrays [height, width, 3], each of its own size.
      rows: for each image its caption (say the file's name) and its (class name, probability)
        pairs, the most probable first.
      path: PNG to write.

    Raises:
      ValueError: not one row per image, no image, or more than 300, which no PNG viewer shows.
    """
    if len(images) != len(rows) or not 1 <= len(images) <= _MOST_PICTURES:
        raise ValueError(
            f"expected 1 to {_MOST_PICTURES} images and one row for each, found "
            f"{len(images)} images and {len(rows)} rows"
        )
    columns = 1 if len(images) == 1 else 2 if len(images) <= 8 else 3
    lines = -(-len(images) // columns)
    most = max(len(scores) for _, scores in rows)
    cell_width, cell_height, edge = 4.6, max(2.35, 0.34 * most + 0.75), 0.25
    width, height = columns * cell_width + edge - 0.15, lines * cell_height + edge
    figure = Figure(figsize=(width, height), dpi=DPI)
    for index, (image, (caption, scores)) in enumerate(zip(images, rows, strict=True)):
        left = edge + index % columns * cell_width
        ceiling = height - edge - index // columns * cell_height
        box = (left / width, (ceiling - 2.0) / height, 2.0 / width, 2.0 / height)
        picture = figure.add_axes(box)
        picture.imshow(image)
        picture.set_anchor("NW")
        picture.set_axis_off()
        tall = 0.34 * len(scores)
        box = ((left + 2.2) / width, (ceiling - 0.25 - tall) / height, 2.0 / width, tall / height)
        _draw_scores(figure.add_axes(box), scores)
        place = ((left + 2.2) / width, (ceiling - 0.08) / height)
        style = {"color": MUTED, "fontsize": 8, "va": "center", "parse_math": False}
        figure.text(*place, _shorten(caption, 34), **style)
    figure.savefig(path, format="png")


def _draw_scores(axes: Axes, scores: Sequence[tuple[str, float]]) -> None:
    rows = np.arange(len(scores))
    values = [score for _, score in scores]
    colors = [BLUE] + [MUTED] * (len(scores) - 1)
    axes.barh(rows + 0.3, np.ones(len(rows)), height=0.16, color=FAINT)
    axes.barh(rows + 0.3, values, height=0.16, color=colors)
    for row, (name, value) in enumerate(scores):
        color, weight = (INK, "bold") if row == 0 else (MUTED, "normal")
        style = {"color": color, "fontsize": 9, "va": "center", "weight": weight}
        style["parse_math"] = False
        axes.text(0, row - 0.08, _shorten(name, 18), ha="left", **style)
        axes.text(1, row - 0.08, f"{value:.1%}", ha="right", **style)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(scores) - 0.5, -0.5)
    axes.set_axis_off()


def _strip(axes: Axes) -> None:
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _dress(axes: Axes, name: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=MUTED, labelsize=8.5, length=0)
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_title(name, loc="left", color=INK, fontsize=10, pad=8)
    axes.set_xlabel("epoch", color=MUTED, fontsize=8.5, loc="right")


def _write_title(figure: Figure, title: str, left: float, height: float) -> None:
    style = {"color": INK, "fontsize": 12, "weight": "bold", "va": "center", "parse_math": False}
    figure.text(left, 1 - 0.36 / height, title, **style)


def _shorten(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
