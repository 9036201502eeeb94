"""Draws the scores of a sweep."""

import os
from collections.abc import Mapping

from netzoo.figures import BLUE, FAINT, INK, MUTED, RED, SKY, TEAL, new_figure, save, shorten

_MOST_ROWS, _LONGEST = 40, 48
# One for each seed or fold. With more of them, colours would not help.
_COLORS = (BLUE, RED, TEAL, SKY, MUTED)


def draw(
    scores: Mapping[str, Mapping[str, float]], title: str, path: str | os.PathLike[str]
) -> None:
    """Draw a row for each variant, with a dot for each of its runs and a line at their mean.

    Args:
      scores: The scores in [0, 1] by variant, from the top down, and by seed or fold. Only the
        first 40 variants that have a score are drawn.
      title: The name of the score, for the axis.
      path: The figure to write.
    """
    shown = [(name, runs) for name, runs in scores.items() if runs][:_MOST_ROWS]
    repeats = list(dict.fromkeys(repeat for _, runs in shown for repeat in runs))
    colors = _COLORS if len(repeats) <= len(_COLORS) else (BLUE,) * len(repeats)
    figure = new_figure(7.5, 1.4 + 0.32 * max(len(shown), 1), "Variants, the best first")
    axes = figure.subplots()
    for row, (_, runs) in enumerate(shown):
        axes.axhline(row, color=FAINT, linewidth=1, zorder=0)
        mean = 100 * sum(runs.values()) / len(runs)
        axes.plot([mean, mean], [row - 0.3, row + 0.3], color=INK, linewidth=2, zorder=1)
    for color, repeat in zip(colors, repeats, strict=False):
        rows = [row for row, (_, runs) in enumerate(shown) if repeat in runs]
        dots = [100 * shown[row][1][repeat] for row in rows]
        axes.scatter(dots, rows, s=28, color=color, label=repeat, zorder=2)
    axes.set_yticks(range(len(shown)), [shorten(name, _LONGEST) for name, _ in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlabel(f"{title}; the line is the mean", color=MUTED)
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if 1 < len(repeats) <= len(_COLORS):
        figure.legend(loc="outside upper right", ncols=len(repeats), frameon=False, fontsize=8)
    save(figure, path)
