"""Draws the attention weights of translations as heat maps."""

import os
from collections.abc import Sequence

import numpy as np

from netzoo import figures
from netzoo.figures import BLUE, INK, PLAIN, SKY, shorten

MOST_SENTENCES, MOST_PIECES = 12, 100
_COLUMNS = 3
_LABELS = 1.5  # inches for labels beside and above a map

Example = tuple[Sequence[str], Sequence[str], np.ndarray]


def attention_figure(examples: Sequence[Example], path: str | os.PathLike[str], title: str) -> None:
    """Draw a heat map for each sentence: source pieces across, pieces of the translation down.

    The colour of a cell is the weight of the column's piece when the decoder chose the row's piece.
    All maps have a square-root scale from 0 to 1, which shows small weights.

    Args:
      examples: 1 to `MOST_SENTENCES` tuples of S source pieces, T target pieces and weights
        `[T, S]` in [0, 1], where S and T are 1 to `MOST_PIECES`. Target pieces are the decoder's
        outputs, not its inputs.
      path: File to write; its extension determines the format.
      title: One line above the maps.
    """
    columns = min(len(examples), _COLUMNS)
    lines = [examples[i : i + columns] for i in range(0, len(examples), columns)]
    across = [max(len(source) for source, _, _ in examples[i::columns]) for i in range(columns)]
    down = [max(len(target) for _, target, _ in line) for line in lines]
    cell = float(np.clip(8 / max(across + down), 0.145, 0.27))
    # Each column has room for its longest sentence and the labels, in inches.
    widths, heights = ([cell * n + _LABELS for n in sizes] for sizes in (across, down))
    figure = figures.new_figure(max(sum(widths), 6), sum(heights) + 1, title)
    panels = figure.subplots(
        len(lines), columns, squeeze=False, width_ratios=widths, height_ratios=heights
    )
    for axes in panels.flat[len(examples) :]:
        axes.set_axis_off()
    turned = {"rotation": 45, "ha": "left", "va": "baseline", "rotation_mode": "anchor"}
    style = PLAIN | {"fontsize": cell * 34}
    for axes, (source, target, weights) in zip(panels.flat, examples, strict=False):
        image = figures.heat_map(axes, weights, SKY, BLUE, INK)
        axes.set_xticks(range(len(source)), map(_label, source), **style, **turned)
        axes.set_yticks(range(len(target)), map(_label, target), **style)
        axes.xaxis.tick_top()
        axes.set_anchor("NW")
        figures.separate_cells(axes, len(target), len(source), linewidth=0.8)
        figures.hide_frame(axes)
    label = "attention weight; source across, translation down"
    figure.colorbar(
        image,
        ax=panels,
        location="bottom",
        label=label,
        shrink=0.3,
        aspect=40,
        ticks=figures.SHARE_TICKS,
    )
    figures.save(figure, path)


def _label(piece: str) -> str:
    # SentencePiece marks a new word by a bar that looks like a grid line.
    return shorten(piece.replace("\N{LOWER ONE EIGHTH BLOCK}", "·"), 16)
