"""A figure of what a translation's words look at: attention weights as heat maps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from netzoo.figures import BLUE, DPI, INK, MUTED, SKY

_SHADES = LinearSegmentedColormap.from_list("attention", ["#f6f8fa", SKY, BLUE, INK])
MOST_SENTENCES, MOST_PIECES = 12, 100
_LONGEST_PIECE = 16
# Inches: around the sheet, between maps, above all; where a line is full.
_EDGE, _GAP, _HEADER, _FULL = 0.3, 0.3, 0.8, 18.0


class _Panel(NamedTuple):
    """One sentence of S and T pieces, and the space that its map needs, in inches."""

    source: Sequence[str]
    target: Sequence[str]
    weights: np.ndarray  # [T, S]
    width: float  # with the pieces on both sides
    before: float
    above: float
    below: float  # from the map's upper edge


def attention_figure(
    examples: Sequence[tuple[Sequence[str], Sequence[str], np.ndarray]],
    path: str | os.PathLike[str],
    title: str,
) -> None:
    """Draws a heat map for each sentence: source pieces across, pieces of the translation down.

    A cell's colour is the weight that the column's piece had when the row's was chosen, on a
    square-root scale from 0 to 1 that is the same for all maps and keeps small weights visible.

    Args:
      examples: 1 to `MOST_SENTENCES` of (source pieces, S of them; target pieces, T of them;
        weights [T, S], from 0 to 1), with no more than `MOST_PIECES` on a side. A row stands
        beside the piece that the decoder gave, not beside the one that it was given.
      path: PNG to write.
      title: one line above the maps.

    Raises:
      ValueError: no sentence or too many, one that is too long, or weights that do not fit their
        pieces.
    """
    if not 1 <= len(examples) <= MOST_SENTENCES:
        raise ValueError(f"expected 1 to {MOST_SENTENCES} sentences, found {len(examples)}")
    longest = max(max(len(source), len(target)) for source, target, _ in examples)
    if longest > MOST_PIECES:
        raise ValueError(f"expected at most {MOST_PIECES} pieces on a side, found {longest}")
    cell = float(np.clip(8 / max(longest, 1), 0.145, 0.27))
    size = cell * 34
    lines = _break([_panel(*example, cell, size) for example in examples])
    wide = max(sum(panel.width + _GAP for panel in line) for line in lines) - _GAP
    width = 2 * _EDGE + max(wide, 5.5, 0.11 * len(title))
    heights = [max(p.above for p in line) + max(p.below for p in line) + _GAP for line in lines]
    figure = Figure(figsize=(width, _HEADER + sum(heights)), dpi=DPI)
    _write_header(figure, title)
    top = _HEADER
    for line, height in zip(lines, heights, strict=True):
        left, above = _EDGE, max(panel.above for panel in line)
        for panel in line:
            _draw_panel(figure, panel, left + panel.before, top + above, cell, size)
            left += panel.width + _GAP
        top += height
    figure.savefig(path, format="png")


def _panel(
    source: Sequence[str], target: Sequence[str], weights: np.ndarray, cell: float, size: float
) -> _Panel:
    weights = np.asarray(weights, np.float64)
    shape = (len(target), len(source))
    if weights.shape != shape or not weights.size:
        raise ValueError(
            f"expected weights of shape {shape} for {shape[0]} pieces of the translation and "
            f"{shape[1]} of the source, found {weights.shape}"
        )
    if not (weights >= 0).all() or not (weights <= 1.001).all():
        raise ValueError(
            f"expected weights between 0 and 1, found {weights.min()} to {weights.max()}"
        )
    source, target = ([_shorten(piece) for piece in pieces] for pieces in (source, target))
    # At 45 degrees the source's pieces reach as far up as they do beyond the right side.
    before, above = _inches(target, size), 0.71 * _inches(source, size) + 0.1
    width, below = before + cell * len(source) + above, cell * len(target)
    return _Panel(source, target, weights, width, before, above, below)


def _break(panels: Sequence[_Panel]) -> list[list[_Panel]]:
    """Fills lines as text does, so that short sentences do not stand in the space of long ones."""
    lines, filled = [], _FULL
    for panel in panels:
        filled += panel.width + _GAP
        if filled > _FULL:
            lines.append([])
            filled = panel.width
        lines[-1].append(panel)
    return lines


def _inches(pieces: Sequence[str], size: float) -> float:
    return max(map(len, pieces)) * size * 0.62 / 72 + 0.1


def _draw_panel(
    figure: Figure, panel: _Panel, left: float, top: float, cell: float, size: float
) -> None:
    rows, columns = panel.weights.shape
    axes = _axes(figure, left, top, columns * cell, rows * cell)
    axes.imshow(_SHADES(np.sqrt(panel.weights)), interpolation="nearest", aspect="auto")
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    edges = {"color": "white", "linewidth": 0.8, "clip_on": False}
    axes.hlines(np.arange(rows + 1) - 0.5, -0.5, columns - 0.5, **edges)
    axes.vlines(np.arange(columns + 1) - 0.5, -0.5, rows - 0.5, **edges)
    # A piece may hold two dollar signs, which matplotlib would take for a formula.
    style = {"color": INK, "fontsize": size, "parse_math": False}
    turned = {"rotation": 45, "ha": "left", "va": "baseline", "rotation_mode": "anchor"}
    axes.xaxis.tick_top()
    axes.tick_params(length=0, pad=2)
    axes.set_xticks(range(columns), panel.source, **style, **turned)
    axes.set_yticks(range(rows), panel.target, **style)


def _axes(figure: Figure, left: float, top: float, wide: float, tall: float) -> Axes:
    """Makes axes at a place given in inches from the upper left corner of the sheet."""
    width, height = figure.get_size_inches()
    box = (left / width, 1 - (top + tall) / height, wide / width, tall / height)
    axes = figure.add_axes(box)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, pad=2)
    axes.set(xticks=[], yticks=[])
    return axes


def _write_header(figure: Figure, title: str) -> None:
    width, height = figure.get_size_inches()
    style = {"color": INK, "fontsize": 12, "weight": "bold", "va": "center", "parse_math": False}
    figure.text(_EDGE / width, 1 - 0.3 / height, title, **style)
    axes = _axes(figure, _EDGE, 0.54, 1.0, 0.1)
    axes.imshow(_SHADES(np.sqrt(np.linspace(0, 1, 64)))[None], aspect="auto")
    note = "attention weight, 0 to 1; source across, translation down"
    axes.text(68, 0, note, color=MUTED, fontsize=9, va="center")


def _shorten(piece: str) -> str:
    # SentencePiece's mark of a new word is a bar that looks like a rule of the table.
    piece = piece.replace("\N{LOWER ONE EIGHTH BLOCK}", "·")
    return piece if len(piece) <= _LONGEST_PIECE else piece[: _LONGEST_PIECE - 1] + "…"
