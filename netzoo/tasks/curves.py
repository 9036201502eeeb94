"""Draws the training curves of a run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from netzoo.figures import BLUE, FAINT, INK, MUTED, TEAL, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Records = Sequence[Mapping[str, Any]]

# Label, colour and line style by split; the names of values begin with the split.
_SPLITS = {
    "train": ("train slice", TEAL, "-"),
    "validation": ("validation", BLUE, "-"),
}
_AVERAGES = {"ema": "EMA", "swa": "SWA", "schedule_free": "averaged"}
_FEW_POINTS = 15  # maximum number of points with markers


def training_curves(
    records: Records, path: str | os.PathLike[str], title: str, metric: str = "accuracy"
) -> None:
    """Draw loss, main metric and learning rate of a run over its epochs; see `curves_figure`."""
    if figure := curves_figure(records, title, metric):
        save(figure, path)


def curves_figure(records: Records, title: str, metric: str = "accuracy") -> Figure | None:
    """Draw loss, main metric and learning rate of a run over its epochs.

    `records` are the lines of metrics.jsonl; without a train line, the result is None.
    Train lines have `loss` and `learning_rate`. Eval lines have `train_loss`, `validation_loss`,
    the same for the metric, and `weights`: a name in `_AVERAGES` for averaged weights. Missing and
    null values are skipped. `metric` is the task's main metric, from 0 to 1.
    """
    train, evals = ([r for r in records if r["kind"] == kind] for kind in ("train", "eval"))
    if not train:
        return None
    figure = new_figure(14, 4, title)
    losses, metrics, rates = figure.subplots(1, 3, width_ratios=(1, 1, 0.8))
    _draw_losses(losses, train, evals)
    _draw_evals(metrics, evals, metric, "{:.1%}")
    metrics.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    rates.plot(*_series(train, "learning_rate"), color=INK, linewidth=1.4)
    rates.set_ylim(bottom=0)
    weights = evals[-1].get("weights") if evals else None
    averaged = f" ({_AVERAGES[weights]} weights)" if weights in _AVERAGES else ""
    names = ("Loss", metric.replace("_", " ").capitalize() + averaged, "Learning rate")
    for axes, name in zip((losses, metrics, rates), names, strict=True):
        dress(axes, name)
        axes.set_xlim(0, max(record["epoch"] for record in records))
    return figure


def _draw_losses(axes: Axes, train: Records, evals: Records) -> None:
    epochs, losses = _series(train, "loss")
    if len(losses):
        smooth = _smooth(losses)
        axes.plot(epochs, losses, color=MUTED, alpha=0.28, linewidth=0.7)
        label = f"train steps {smooth[-1]:.3f}"
        axes.plot(epochs, smooth, color=MUTED, linewidth=1.4, label=label)
        # Clip the first steps and single outliers, which would flatten the rest of the curve.
        drawn = [smooth[len(smooth) // 50 :], *(_series(evals, f"{s}_loss")[1] for s in _SPLITS)]
        axes.set_ylim(0, 1.06 * np.concatenate(drawn).max())
    _draw_evals(axes, evals, "loss", "{:.3f}")


def _draw_evals(axes: Axes, evals: Records, metric: str, number_format: str) -> None:
    """Draw the curves of the evaluated splits, with their last values as labels."""
    for split, (name, color, style) in _SPLITS.items():
        epochs, values = _series(evals, f"{split}_{metric}")
        if len(values):
            line: dict[str, Any] = {"color": color, "linestyle": style, "linewidth": 1.6}
            line |= {"marker": "o" if len(values) <= _FEW_POINTS else None, "markersize": 3}
            label = f"{name} {number_format.format(values[-1])}"
            axes.plot(epochs, values, label=label, **line)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8.5, labelcolor="linecolor")


def _series(records: Records, name: str) -> tuple[np.ndarray, np.ndarray]:
    points = [(r["epoch"], r[name]) for r in records if isinstance(r.get(name), int | float)]
    epochs, values = np.array(points, float).reshape(-1, 2).T
    return epochs, values


def _smooth(values: np.ndarray) -> np.ndarray:
    """Return the moving average over a fortieth of the run, or less at its ends."""
    window = np.ones(2 * (len(values) // 80) + 1)
    counts = np.convolve(np.ones_like(values), window, "same")
    return np.convolve(values, window, "same") / counts


def dress(axes: Axes, name: str, x: str = "epoch") -> None:
    """Give axes the style, a title and the label of the horizontal axis."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=MUTED, labelsize=8.5, length=0)
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_title(name, loc="left", color=INK, fontsize=10, pad=8)
    axes.set_xlabel(x, color=MUTED, fontsize=8.5, loc="right")
