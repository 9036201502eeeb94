"""Draws the stages of a network with their shapes, parameters and multiply-adds."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import jax
from chex import ArrayTree
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from netzoo import figures
from netzoo.figures import BLUE, FAINT, INK, MUTED, PLAIN, SKY, TEAL
from netzoo.models.summary import Part, Summary

_PITCH = 1.12  # inches from one stage to the next
_LEFT, _RIGHT, _TITLE = 0.95, 0.25, 0.75
_TALLEST, _SLANT = 1.75, 0.32  # height of the largest map, and its depth to the right and up
_NAMES, _BAR = 0.62, 0.72  # heights of the labels and of a row of bars
_BLOCK = re.compile(r"(.+)_block\d+")


def model_figure(
    name: str, summary: Summary, variables: ArrayTree, image_size: int, totals: str
) -> Figure:
    """Draw a network from left to right.

    The height of a slab shows the side of the feature map, and its thickness the channels, both on
    a logarithmic scale. Bars show the shares of the parameters and of the multiply-adds.

    Args:
      name: Name of the network.
      summary: Result of `netzoo.models.summary.model_summary`.
      variables: The variables or their shapes.
      image_size: Side of the image in pixels; 0 for networks on text.
      totals: A line below the title.
    """
    image = [Part("image", (1, image_size, image_size, 3), 0, 0)] if image_size else []
    parts = [*image, *summary.parts]
    slabs = _TALLEST + _SLANT + 0.3
    width = _LEFT + len(parts) * _PITCH + _RIGHT
    height = _TITLE + slabs + _NAMES + 2 * (_BAR + 0.22) + 0.1
    figure = figures.new_figure(max(width, 6.0), height, name, layout="none")
    width = max(width, 6.0)
    figure.text(0.01 + 0.02 / width, 1 - 0.5 / height, totals, fontsize=9, color=MUTED)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    base = 2 * (_BAR + 0.22) + 0.1 + _NAMES
    counts = block_counts(variables)
    most = max(math.log2(1 + _channels(part)) for part in parts)
    largest = max(math.log2(1 + _side(part)) for part in parts)
    for place, part in enumerate(parts):
        middle = _LEFT + (place + 0.5) * _PITCH
        tall = 0.12 + (_TALLEST - 0.12) * math.log2(1 + _side(part)) / largest
        thick = 0.05 + 0.38 * math.log2(1 + _channels(part)) / most
        if part.shape:  # parameters outside of modules, and heads for training, have no output
            _slab(axes, middle, base + _TALLEST / 2 + 0.1, tall, thick, _color(part))
        _label(axes, middle, base - 0.12, part, counts.get(part.name, 0))
    shares = {
        "parameters": [part.parameters for part in parts],
        "multiply-adds": [part.macs for part in parts],
    }
    for row, (title, values) in enumerate(shares.items()):
        _bars(axes, (1 - row) * (_BAR + 0.22) + 0.12, title, values)
    return figure


def block_counts(variables: ArrayTree) -> dict[str, int]:
    """Return the number of blocks of each stage, and of each stack of scanned blocks."""
    params: Mapping = variables["params"]
    counts = Counter(match[1] for name in params if (match := _BLOCK.fullmatch(name)))
    for name, tree in params.items():
        if isinstance(tree, Mapping) and "blocks" in tree:
            counts[name] = jax.tree.leaves(tree["blocks"])[0].shape[0]
    return dict(counts)


def _side(part: Part) -> float:
    """Return the side of a feature map, the root of the number of tokens, or 1 for a vector."""
    places = part.shape[1:-1]
    return math.prod(places) ** 0.5 if places else 1.0


def _channels(part: Part) -> int:
    return part.shape[-1] if part.shape else 1


def _color(part: Part) -> str:
    if part.name == "image":
        return MUTED
    return TEAL if part.name in ("logits", "head", "pre_logits") or len(part.shape) == 2 else BLUE


def _slab(axes: Axes, x: float, y: float, tall: float, thick: float, color: str) -> None:
    """Draw a box around a point: the front is `thick`, and the map goes back to the right."""
    depth = _SLANT * tall / _TALLEST
    left, right = x - (thick + depth) / 2, x + (thick - depth) / 2
    bottom, top = y - (tall + depth) / 2, y + (tall - depth) / 2
    faces = (
        (((left, bottom), (right, bottom), (right, top), (left, top)), 0.85),
        (
            ((left, top), (right, top), (right + depth, top + depth), (left + depth, top + depth)),
            0.45,
        ),
        (
            (
                (right, bottom),
                (right + depth, bottom + depth),
                (right + depth, top + depth),
                (right, top),
            ),
            0.62,
        ),
    )
    for corners, alpha in faces:
        face = Polygon(corners, facecolor=color, alpha=alpha, edgecolor="white", linewidth=0.7)
        axes.add_patch(face)


def _label(axes: Axes, x: float, y: float, part: Part, blocks: int) -> None:
    """Write the name of a part, its number of blocks and its shape."""
    style = PLAIN | {"ha": "center", "va": "top"}
    name = part.name if part.shape else part.name.replace("_", "\n")
    axes.text(x, y, name, fontsize=8.5, weight="bold", **style)
    shape = "\u00d7".join(map(str, part.shape[1:]))
    axes.text(x, y - 0.17, shape, fontsize=7.5, **style)
    if blocks:
        text = f"{blocks} block{'s' * (blocks > 1)}"
        axes.text(x, y - 0.32, text, fontsize=7.5, **style | {"color": MUTED})


def _bars(axes: Axes, bottom: float, title: str, values: Sequence[int]) -> None:
    """Draw a row of bars, which share a scale, with their values above."""
    total, largest = max(sum(values), 1), max(*values, 1)
    axes.text(0.12, bottom + 0.2, title, fontsize=8, va="center", **PLAIN | {"color": MUTED})
    line = (_LEFT, _LEFT + len(values) * _PITCH)
    axes.plot(line, (bottom, bottom), color=FAINT, linewidth=1, zorder=0)
    for place, value in enumerate(values):
        middle, tall = _LEFT + (place + 0.5) * _PITCH, (_BAR - 0.3) * value / largest
        axes.bar(middle, tall, 0.5, bottom, color=SKY, linewidth=0)
        if value:
            share = f"{value / total:.0%}" if value >= 0.005 * total else "<1%"
            text = f"{_short(value)} \u00b7 {share}"
            style = PLAIN | {"ha": "center", "va": "bottom", "fontsize": 7, "color": INK}
            axes.text(middle, bottom + tall + 0.03, text, **style)


def _short(value: int) -> str:
    """Return a count with three digits and a unit, e.g. `1.28 M`."""
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= factor:
            return f"{value / factor:.3g}{unit}"
    return str(value)
