"""Figures for a slide: readable at half size, and safe for colour-blind readers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from netzoo import figures
from netzoo.figures import BLUE, FAINT, INK, MUTED, PLAIN, SKY

# The palette of Okabe and Ito (https://jfly.uni-koeln.de/color/), without its yellow, which is too
# pale for lines. Dashes tell curves apart without colour.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (2, 1)))
_PANEL_WIDTH, _PANEL_HEIGHT = 4.6, 3.5  # inches
_TEXT = 12


def panels(
    title: str,
    names: Sequence[str],
    *,
    columns: int = 0,
    width: float = _PANEL_WIDTH,
    height: float = _PANEL_HEIGHT,
) -> tuple[Figure, list[Axes]]:
    """Create a figure with one or more rows of panels.

    Args:
      title: Title of the figure: what it shows, as a sentence.
      names: The title of each panel.
      columns: Panels of a row; 0 puts all into one row.
      width: Width of a panel in inches.
      height: Height of a panel in inches.
    """
    columns = columns or len(names)
    rows = -(-len(names) // columns)
    figure = figures.new_figure(columns * width + 0.2, rows * height + 0.5, title)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(grid, names, strict=False):
        axes.set_title(name, loc="left", fontsize=_TEXT, **PLAIN)
        axes.tick_params(labelsize=_TEXT - 1, colors=MUTED)
        axes.grid(color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        figures.hide_frame(axes)
    return figure, list(grid[: len(names)])


def label(axes: Axes, x: str, y: str, *, legend: bool = True) -> None:
    """Name the axes, with units, and show the legend."""
    axes.set_xlabel(x, fontsize=_TEXT, color=INK)
    axes.set_ylabel(y, fontsize=_TEXT, color=INK)
    if legend:
        axes.legend(frameon=False, fontsize=_TEXT - 1, labelcolor=INK)


def picture(axes: Axes, pixels: np.ndarray, **options: Any) -> AxesImage:
    """Draw an image or a map without axes; `options` are those of `imshow`."""
    axes.set_axis_off()
    return axes.imshow(pixels, **({"interpolation": "nearest"} | options))


def lines(axes: Axes, x: np.ndarray, curves: Mapping[str, np.ndarray], **options: Any) -> None:
    """Draw curves by their name.

    A curve is `[points]` or `[seeds, points]`. For several seeds, the line is their mean, and a
    band reaches from the smallest to the largest value.
    """
    for number, (name, values) in enumerate(curves.items()):
        values = np.atleast_2d(values)
        style = {"color": COLORS[number % len(COLORS)], "linestyle": DASHES[number % len(DASHES)]}
        axes.plot(x, values.mean(0), label=name, **({"linewidth": 2.2} | style | options))
        if len(values) > 1:
            axes.fill_between(
                x, values.min(0), values.max(0), color=style["color"], alpha=0.18, linewidth=0
            )


def chart(
    title: str,
    x: np.ndarray,
    curves: Mapping[str, np.ndarray],
    axes: tuple[str, str],
    **scales: Any,
) -> Figure:
    """Create a figure with one panel of curves; see `lines`.

    Args:
      title: See `panels`.
      x: Where the points of the curves are.
      curves: See `lines`.
      axes: What x and y are, with units.
      scales: Properties of the axes, such as `xscale="log"`.
    """
    figure, [panel] = panels(title, [""])
    lines(panel, x, curves, marker="o")
    panel.set(**scales)
    panel.minorticks_off()
    label(panel, *axes)
    return figure


def bars(axes: Axes, values: Mapping[str, np.ndarray | float], digits: int = 2) -> None:
    """Draw horizontal bars by name, with their values.

    A value is a number, or one for each seed. The bar is their mean, and points mark the seeds.
    """
    names = list(values)
    for row, name in enumerate(names):
        seeds = np.atleast_1d(values[name])
        axes.barh(row, seeds.mean(), color=COLORS[row % len(COLORS)], alpha=0.85, height=0.62)
        if len(seeds) > 1:
            axes.plot(seeds, np.full(len(seeds), row), "o", color=INK, markersize=4)
        text = f" {seeds.mean():,.{digits}f}"
        axes.text(max(seeds.max(), 0), row, text, va="center", fontsize=_TEXT - 1, **PLAIN)
    axes.set_yticks(range(len(names)), names, fontsize=_TEXT - 1, color=INK)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.18)


def maps(
    title: str,
    shares: np.ndarray,
    names: Sequence[str],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    per_row: int = 0,
    x: str = "",
    y: str = "",
) -> Figure:
    """Draw shares from 0 to 1 as cells, one map beside the other.

    Args:
      title: Title of the figure.
      shares: `[maps, rows, columns]`.
      names: The title of each map.
      rows: The text of each row, the same in all maps.
      columns: The text of each column, the same in all maps.
      per_row: Maps beside one another; 0 puts all into one row.
      x: What the columns are.
      y: What the rows are.
    """
    per_row = per_row or len(names)
    cell, margin, least = 0.17, 0.8, 9  # inches
    width = max(margin + cell * len(columns), least / per_row)
    height = margin + 0.5 + cell * len(rows)
    figure, grid = panels(title, names, columns=per_row, width=width, height=height)
    style: dict[str, Any] = {"fontsize": _TEXT - 2, **PLAIN}
    for number, (axes, values) in enumerate(zip(grid, shares, strict=True)):
        figures.heat_map(axes, values, SKY, BLUE, INK, power=1)
        axes.set_aspect("auto")
        left, bottom = number % per_row == 0, number + per_row >= len(names)
        axes.set_yticks(range(len(rows)), rows if left else [""] * len(rows), **style)
        texts = columns if bottom else [""] * len(columns)
        axes.set_xticks(range(len(columns)), texts, rotation=90, **style)
        axes.grid(visible=False)
        figures.separate_cells(axes, len(rows), len(columns), linewidth=0.8)
        axes.tick_params(which="both", length=0)
    figure.supxlabel(x, fontsize=_TEXT, color=INK)
    figure.supylabel(y, fontsize=_TEXT, color=INK)
    return figure


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Return the mean of up to `window` values that end at each value of the last axis."""
    sums = np.cumsum(values, -1, dtype=float)
    sums[..., window:] -= np.cumsum(values, -1, dtype=float)[..., :-window]
    return sums / np.minimum(np.arange(1, values.shape[-1] + 1), window)
