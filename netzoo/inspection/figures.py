"""Figures of maps over images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from netzoo import figures
from netzoo.figures import BLUE, FAINT, MUTED, PLAIN, RED, TEAL, shorten
from netzoo.inspection.curves import Curves
from netzoo.inspection.overlay import overlay

_COLUMNS = 5
_SIDE, _CAPTION, _TITLE, _MARGIN = 2.0, 0.42, 0.4, 0.1  # inches


def map_sheet(
    title: str,
    images: Sequence[np.ndarray],
    maps: Mapping[str, np.ndarray],
    captions: Sequence[str],
) -> Figure:
    """Draw images side by side, and below each image its maps.

    Args:
      title: Title of the figure.
      images: uint8 `[height, width, 3]`, of equal size.
      maps: Maps `[n, height, width]` in 0 to 1, by their caption.
      captions: The text above each image; see `image_sheet`.
    """
    rows = [list(images)]
    rows += [[overlay(i, m) for i, m in zip(images, own, strict=True)] for own in maps.values()]
    names = ["", *maps] if len(maps) > 1 else ["", ""]
    return image_sheet(title, rows, captions, names)


def image_sheet(
    title: str,
    rows: Sequence[Sequence[np.ndarray]],
    captions: Sequence[str],
    names: Sequence[str],
    colors: str | None = None,
) -> Figure:
    """Draw rows of images, each with a name at the left, in as many lines as are needed.

    Args:
      title: Title of the figure.
      rows: Images in rows of equal length: uint8 `[height, width, 3]`, or `[height, width]` with
        values that `colors` shows.
      captions: The text above each column, with a second line after a line feed.
      names: One word beside each row; "" for none.
      colors: Name of a colour map of matplotlib.
    """
    columns = min(len(captions), _COLUMNS)
    lines = -(-len(captions) // columns)
    left = 0.3 if any(names) else _MARGIN
    width = max(left + columns * _SIDE + _MARGIN, 4.2)
    height = _TITLE + lines * (len(rows) * _SIDE + _CAPTION) + _MARGIN
    figure = figures.new_figure(width, height, title, layout="none")
    for index, caption in enumerate(captions):
        line, column = divmod(index, columns)
        top = height - _TITLE - line * (len(rows) * _SIDE + _CAPTION) - _CAPTION
        for row, images in enumerate(rows):
            box = (left + column * _SIDE, top - (row + 1) * _SIDE, _SIDE, _SIDE)
            axes = _panel(figure, box)
            axes.imshow(images[index], cmap=colors, aspect="equal")
            if row == 0:
                _caption(axes, *caption.split("\n"))
            if column == 0 and names[row]:
                style = PLAIN | {"color": MUTED, "fontsize": 8, "rotation": 90, "va": "center"}
                axes.text(-0.03, 0.5, names[row], ha="right", transform=axes.transAxes, **style)
    return figure


def curves_figure(title: str, curves: Mapping[str, Curves]) -> Figure:
    """Draw the mean deletion and insertion curves of maps, by the name of the map."""
    figure = figures.new_figure(8.4, 3.9, title)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, part, aim in zip(
        panels, ("deletion", "insertion"), ("smaller is better", "larger is better"), strict=True
    ):
        for (name, found), color in zip(curves.items(), (BLUE, TEAL, MUTED, RED), strict=False):
            area = getattr(found, f"{part}_area").mean()
            mean = getattr(found, part).mean(0)
            axes.plot(found.shares, mean, color=color, label=f"{name}: {area:.3f}")
        axes.set_title(f"{part}; area, {aim}", loc="left", fontsize=9, color=MUTED)
        axes.set_xlabel("share of changed pixels", fontsize=9, color=MUTED)
        axes.legend(frameon=False, fontsize=8)
        axes.grid(color=FAINT, linewidth=0.6)
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        figures.hide_frame(axes)
    panels[0].set_ylabel("probability of the class", fontsize=9, color=MUTED)
    return figure


def _caption(axes: Axes, first: str, second: str = "") -> None:
    """Write a line above an image, and a second one in grey."""
    style: dict[str, Any] = PLAIN | {"va": "bottom", "transform": axes.transAxes}
    axes.text(0, 1.09 if second else 1.01, shorten(first, 26), fontsize=9, weight="bold", **style)
    axes.text(0, 1.01, shorten(second, 34), fontsize=7, **style | {"color": MUTED})


def _panel(figure: Figure, box: tuple[float, float, float, float]) -> Axes:
    """Add axes without a frame; the box is left, bottom, width and height in inches."""
    width, height = figure.get_size_inches()
    gap = 0.03
    left, bottom, across, up = box
    place = (left / width, bottom / height, (across - gap) / width, (up - gap) / height)
    axes = figure.add_axes(place)
    axes.set_axis_off()
    return axes
