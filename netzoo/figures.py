"""The style of netzoo's figures.

Figures use matplotlib's object interface only, which needs no backend, window or global state and
works on headless machines. Blue marks correct or held-out results, red marks errors, and grey marks
context.

matplotlib is imported by the functions that draw. Training and prediction import this module, and
would otherwise wait for matplotlib before they start.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from netzoo.errors import UserError, printable
from netzoo.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

INK, MUTED, FAINT, PAPER = "#22303c", "#7d8995", "#e4e8ec", "#f6f8fa"
BLUE, SKY, TEAL, RED = "#1f5f99", "#5b94c8", "#2a9d8f", "#c2513f"
DPI = 150
# matplotlib would parse two dollar signs in a name or title as a formula.
PLAIN: dict[str, Any] = {"color": INK, "parse_math": False}


def new_figure(
    width: float, height: float, title: str, layout: Literal["constrained", "none"] = "constrained"
) -> Figure:
    """Create a figure of a size in inches, with a title at the left."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI)
    figure.set_layout_engine(layout)
    figure.suptitle(printable(title), x=0.01, ha="left", fontsize=12, weight="bold", **PLAIN)
    return figure


def hide_frame(axes: Any) -> None:
    """Remove the frame and the tick marks of axes, but keep the tick labels."""
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0)


# Ticks of the colour scale of `heat_map`. Those that matplotlib chooses meet at the upper end.
SHARE_TICKS = (0, 0.1, 0.4, 1)


def heat_map(axes: Axes, shares: np.ndarray, *colors: str, power: float = 0.5) -> AxesImage:
    """Draw shares in [0, 1] as cells; a square-root scale, with power 0.5, shows small shares."""
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    shades = LinearSegmentedColormap.from_list("shades", [PAPER, *colors])
    return axes.imshow(shares, cmap=shades, norm=PowerNorm(power, 0, 1), interpolation="nearest")


# Where the text begins, seen from the point, in typographic points, and how it is aligned.
_SIDES = (
    ((5, 3), "left", "bottom"),
    ((5, -3), "left", "top"),
    ((-5, 3), "right", "bottom"),
    ((-5, -3), "right", "top"),
)


def label_points(
    axes: Axes, places: Sequence[tuple[float, float]], names: Sequence[str], colors: Sequence[str]
) -> list[Annotation]:
    """Write a name beside every point, on the side where it covers the least.

    Names are placed in turn. A name stays, as far as possible, inside the axes and off the points
    and the earlier names. The axes must already be where they will be drawn: call
    `figure.draw_without_rendering()` before this function.
    """
    from matplotlib.transforms import Bbox

    inside = axes.get_window_extent()
    taken = [Bbox(axes.transData.transform([place, place])).padded(3) for place in places]
    labels = []
    for place, name, color in zip(places, names, colors, strict=True):
        tried = []
        for offset, across, along in _SIDES:
            style = {**PLAIN, "ha": across, "va": along, "color": color, "fontsize": 7}
            text = axes.annotate(name, place, offset, textcoords="offset points", **style)
            box = text.get_window_extent()
            covered = sum(_shared_area(box, other) for other in taken)
            tried.append((covered + box.width * box.height - _shared_area(box, inside), text, box))
        _, label, box = min(tried, key=lambda one: one[0])
        for _, text, _ in tried:
            if text is not label:
                text.remove()
        taken.append(box)
        labels.append(label)
    return labels


def _shared_area(first: Bbox, second: Bbox) -> float:
    width = min(first.x1, second.x1) - max(first.x0, second.x0)
    height = min(first.y1, second.y1) - max(first.y0, second.y0)
    return max(width, 0) * max(height, 0)


def separate_cells(axes: Axes, rows: int, columns: int, linewidth: float) -> None:
    """Draw white lines between the cells of a heat map."""
    axes.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=linewidth)


def tiles(cells: np.ndarray, columns: int, gap: int = 1, fill: float = np.nan) -> np.ndarray:
    """Lay out cells `[n, height, width, ...]` row by row as one array, with gaps between them."""
    rows = -(-len(cells) // columns)
    height, width = cells.shape[1] + gap, cells.shape[2] + gap
    grid = np.full((rows * columns, height, width, *cells.shape[3:]), fill, float)
    grid[: len(cells), : height - gap, : width - gap] = cells
    sheet = grid.reshape(rows, columns, *grid.shape[1:]).swapaxes(1, 2)
    sheet = sheet.reshape(rows * height, columns * width, *cells.shape[3:])
    return sheet[: rows * height - gap, : columns * width - gap]


def shorten(text: str, longest: int) -> str:
    """Escape a text for a figure and shorten it to `longest` characters, with an ellipsis."""
    text = printable(text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure in the format of the name's extension.

    The same figure gives the same SVG file.
    """
    from matplotlib import rc_context

    form = Path(path).suffix.lower().removeprefix(".")
    # Without a salt, matplotlib gives the parts of an SVG random names.
    with replacing(path) as file, rc_context({"svg.hashsalt": "netzoo"}):
        figure.savefig(file, format=form, metadata={"Date": None} if form == "svg" else None)


def data_uri(figure: Figure) -> str:
    """Return a figure as an SVG in a `data:` address, which an `img` element shows.

    In such an element, an SVG runs no script and requests nothing.
    """
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
    return f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}"


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def check_format(path: str | None) -> None:
    """Raise a UserError if the extension of `path` is not a figure format."""
    if path is None:
        return
    from matplotlib.backend_bases import FigureCanvasBase

    formats = FigureCanvasBase.get_supported_filetypes()
    if Path(path).suffix.lower().removeprefix(".") not in formats:
        raise UserError(f"cannot write {path}: expected a figure's extension, such as .png or .pdf")
