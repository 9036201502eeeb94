"""The style of netzoo's figures.

They are drawn with matplotlib's object interface alone, so that no backend, window or global state
is involved and a headless machine draws the same. Blue means right or the test split, red means
wrong, grey is context.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure

from netzoo.errors import UserError

INK, MUTED, FAINT, PAPER = "#22303c", "#7d8995", "#e4e8ec", "#f6f8fa"
BLUE, SKY, TEAL, RED = "#1f5f99", "#5b94c8", "#2a9d8f", "#c2513f"
DPI = 150
# Names and titles may hold two dollar signs, which matplotlib would take for a formula.
PLAIN = {"color": INK, "parse_math": False}


def new_figure(width: float, height: float, title: str, layout: str = "constrained") -> Figure:
    """Makes a figure of a size in inches, with a title on its left."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold", **PLAIN)
    return figure


def hide_frame(axes: Axes) -> None:
    """Removes the frame and the tick marks of a panel; tick labels stay."""
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0)


def shorten(text: str, longest: int) -> str:
    """Returns a text of at most `longest` characters; what is cut off becomes an ellipsis."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def check_format(path: str | None) -> None:
    """Raises UserError, before the work is done, if no figure can be written as `path` ends."""
    formats = FigureCanvasBase.get_supported_filetypes()
    if path is not None and Path(path).suffix.lower().removeprefix(".") not in formats:
        raise UserError(f"cannot write {path}: expected a figure's extension, such as .png or .pdf")
