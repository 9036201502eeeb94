"""Figures of a table of throughputs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from benchmarks.report import MODES, Line

INK, FAINT = "#22303c", "#e4e8ec"
# netzoo's colour, then those of the peers in the order of the lines.
COLORS = ("#1f5f99", "#2a9d8f", "#c2513f", "#d8973c", "#7d8995", "#7b5ea7", "#9cbb4c", "#d06a9b")
MARKERS = "os^"


def draw_ratios(lines: Sequence[Line], path: Path) -> None:
    """Draw netzoo's speed divided by that of each peer as bars with their ranges.

    Each combination of mode, image size and batch size has a panel.

    Args:
      lines: Lines of peers, with `model`, `mode`, the sizes, `peer`, `netzoo_ratio` and its `_low`
        and `_high`.
      path: PNG to write.
    """
    peers, models = _values(lines, "peer"), _values(lines, "model")
    lines = [{**line, "panel": _sizes(line)} for line in lines]
    figure, panels = _panels(lines, max(6.0, 1.5 + 0.4 * len(peers) * len(models)), "panel")
    width = 0.8 / len(peers)
    for panel, axes in panels.items():
        for index, peer in enumerate(peers):
            mine = [x for x in lines if (x["panel"], x["peer"]) == (panel, peer)]
            places = [models.index(x["model"]) + (index + 0.5) * width - 0.4 for x in mine]
            ratios, low, high = (
                [x["netzoo_ratio" + end] for x in mine] for end in ("", "_low", "_high")
            )
            # Bars start at 1: upwards if netzoo is faster, downwards if it is slower.
            heights = [ratio - 1 for ratio in ratios]
            axes.bar(places, heights, width, bottom=1, color=COLORS[index + 1], label=peer)
            axes.vlines(places, low, high, color=INK, linewidth=1)
            for place, ratio, top in zip(places, ratios, high, strict=True):
                at, options = (place, max(top, 1)), {"ha": "center", "fontsize": 7}
                axes.annotate(f"{ratio:.2f}", at, (0, 2), textcoords="offset points", **options)
        _scale_ratios(axes, "netzoo's images/s over the peer's")
        axes.set_xticks(range(len(models)), models, rotation=20, ha="right")
    panels[_values(lines, "panel")[0]].legend(title="peer", loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path)


def draw_versions(lines: Sequence[Line], peer: str, path: Path) -> None:
    """Draw netzoo's speed divided by that of a peer in several versions.

    Each combination of mode, image size and batch size has a panel.

    Args:
      lines: Lines of one peer, with `version`, `model`, `mode`, the sizes and `netzoo_ratio`.
      peer: Name of the peer.
      path: PNG to write.
    """
    versions, models = _values(lines, "version"), _values(lines, "model")
    lines = [{**line, "panel": _sizes(line)} for line in lines]
    figure, panels = _panels(lines, 4.5 + 1.2 * len(versions), "panel")
    for panel, axes in panels.items():
        for index, model in enumerate(models):
            mine = [x for x in lines if (x["panel"], x["model"]) == (panel, model)]
            if mine:
                places = [versions.index(x["version"]) for x in mine]
                style = MARKERS[index // len(COLORS) % len(MARKERS)] + "-"
                color = COLORS[index % len(COLORS)]
                ratios = [x["netzoo_ratio"] for x in mine]
                axes.plot(places, ratios, style, color=color, label=model, markersize=4)
        _scale_ratios(axes, f"netzoo's images/s over {peer}'s")
        axes.set_xticks(range(len(versions)), versions)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=7)
    figure.savefig(path)


def draw_sweep(lines: Sequence[Line], swept: str, by: str, path: Path) -> None:
    """Draw images per second by the values of a column, one panel per mode.

    Args:
      lines: Lines with `mode`, `images_per_second` and the two columns.
      swept: Name of the column on the horizontal axis, e.g. `batch_size`.
      by: Name of the column that has a curve for each value, `contestant` or `model`.
      path: PNG to write.
    """
    figure, panels = _panels(lines, 7.0)
    for mode, axes in panels.items():
        for index, name in enumerate(_values(lines, by)):
            points = sorted(
                (line[swept], line["images_per_second"])
                for line in lines
                if (line["mode"], line[by]) == (mode, name)
            )
            if points:
                axes.plot(*zip(*points, strict=True), "o-", color=COLORS[index], label=name)
        axes.set(xscale="log", ylim=(0, None), ylabel="images/s")
        axes.set_xticks(ticks := sorted(_values(lines, swept)), list(map(str, ticks)))
        axes.minorticks_off()
    axes.set_xlabel(swept.replace("_", " "))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path)


def draw_steps(lines: Sequence[Line], path: Path) -> None:
    """Draw the milliseconds per step of every model, in the order of the lines.

    Args:
      lines: Lines of one contestant, with `mode`, `model`, `batch_size` and `images_per_second`.
      path: PNG to write.
    """
    figure, panels = _panels(lines, 2.0 + 0.6 * len(_values(lines, "model")))
    for mode, axes in panels.items():
        mine = [line for line in lines if line["mode"] == mode]
        steps = [1000 * line["batch_size"] / line["images_per_second"] for line in mine]
        bars = axes.bar([line["model"] for line in mine], steps, color=COLORS[0])
        axes.bar_label(bars, [f"{step:,.0f}" for step in steps], fontsize=8)
        axes.set_ylabel("ms a step")
        axes.tick_params("x", rotation=30)
        axes.margins(y=0.12)
    figure.savefig(path)


def _values(lines: Sequence[Line], column: str) -> list[Any]:
    return list(dict.fromkeys(line[column] for line in lines))


def _scale_ratios(axes: Axes, label: str) -> None:
    axes.axhline(1, color=INK, linewidth=1)
    axes.set(yscale="log", ylabel=label)
    axes.margins(y=0.1)
    for which in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        which(StrMethodFormatter("{x:g}"))
    axes.tick_params(which="minor", labelsize=7)


def _sizes(line: Line) -> str:
    return f"{MODES[line['mode']]}, {line['image_size']} px, batch {line['batch_size']}"


def _panels(
    lines: Sequence[Line], width: float, column: str = "mode"
) -> tuple[Figure, dict[str, Any]]:
    """Return a figure, and a panel for each value of a column."""
    values = _values(lines, column)
    figure = Figure(figsize=(width, 3.2 * len(values)), dpi=150, layout="constrained")
    panels = figure.subplots(len(values), squeeze=False, sharex=True)[:, 0]
    for value, axes in zip(values, panels, strict=True):
        axes.set_title(MODES.get(value, value))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=FAINT)
        axes.set_axisbelow(True)
    return figure, dict(zip(values, panels, strict=True))
