"""Figures of layers: feature maps, kernels, position embeddings, BatchNorm, activations."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from netzoo import figures
from netzoo.figures import BLUE, FAINT, INK, MUTED, PLAIN, RED, SKY, TEAL, shorten
from netzoo.inspection.activations import Histogram
from netzoo.inspection.tensors import NormStatistics

_CHANNELS = (4, 8)  # rows and columns of feature maps beside an image
_MOST_KERNELS = 256
_CELL = 0.42  # inches
_DEAD = 1e-3  # share of the largest deviation; channels below it are constant


def feature_figure(
    title: str, images: Sequence[np.ndarray], maps: np.ndarray, captions: Sequence[str]
) -> Figure:
    """Draw each image beside the channels whose values vary most over its places.

    `maps` are `[n, rows, columns, channels]`. Each channel has its own scale of colours.
    """
    rows, columns = _CHANNELS
    side = rows * _CELL * 1.25
    line = side + 0.45
    figure = figures.new_figure(
        side + columns * _CELL * 1.25 + 0.3, len(images) * line + 0.5, title, layout="none"
    )
    width, height = figure.get_size_inches()
    for index, (image, own) in enumerate(zip(images, maps, strict=True)):
        bottom = height - 0.4 - (index + 1) * line
        axes = figure.add_axes((0.1 / width, bottom / height, side / width, side / height))
        axes.imshow(image)
        axes.set_axis_off()
        first, _, second = captions[index].partition("\n")
        style = PLAIN | {"transform": axes.transAxes, "va": "bottom"}
        axes.text(0, 1.02, shorten(first, 30), fontsize=9, weight="bold", **style)
        axes = figure.add_axes(
            ((side + 0.2) / width, bottom / height, columns * _CELL * 1.25 / width, side / height)
        )
        axes.imshow(_tiles(own), cmap="viridis", interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        style |= {"transform": axes.transAxes, "color": MUTED}
        axes.text(0, 1.02, shorten(second, 60), fontsize=7, **style)
    return figure


def _tiles(maps: np.ndarray) -> np.ndarray:
    """Lay out the most varying channels of `[rows, columns, channels]`, each scaled to 0 to 1."""
    rows, columns = _CHANNELS
    order = np.argsort(-maps.std((0, 1)), kind="stable")[: rows * columns]
    shown = np.moveaxis(maps[..., order], -1, 0)
    low, high = shown.min((1, 2), keepdims=True), shown.max((1, 2), keepdims=True)
    cells = np.full((rows * columns, *maps.shape[:2]), np.nan)  # a channel may be missing
    cells[: len(shown)] = (shown - low) / np.maximum(high - low, 1e-30)
    return figures.tiles(cells, columns, max(len(maps) // 16, 1))


def kernel_figure(title: str, kernels: np.ndarray) -> Figure:
    """Draw kernels `[kernels, height, width, 3]` as colours; grey is 0 in each of them."""
    shown = kernels[:_MOST_KERNELS]
    columns = min(16 if len(shown) > 64 else 8, len(shown))
    rows = -(-len(shown) // columns)
    largest = abs(shown).max((1, 2, 3), keepdims=True)
    colors = 0.5 + 0.5 * shown / np.maximum(largest, 1e-30)
    sheet = figures.tiles(colors, columns, max(colors.shape[1] // 8, 1), fill=1)
    figure = figures.new_figure(max(columns * _CELL + 0.3, 4.5), rows * _CELL + 0.6, title)
    axes = figure.subplots()
    axes.imshow(sheet, interpolation="nearest")
    axes.set_axis_off()
    return figure


def position_figure(title: str, similarity: np.ndarray) -> Figure:
    """Draw the similarity of every patch `[rows, columns, rows, columns]` with all patches."""
    rows, columns = similarity.shape[2:]
    step = -(-rows // 14)  # of at most 14 x 14 maps
    shown = similarity[::step, ::step]
    cells = shown.reshape(-1, rows, columns)
    sheet = figures.tiles(cells, shown.shape[1], max(rows // 7, 1))
    figure = figures.new_figure(6.4, 6.2, title)
    axes = figure.subplots()
    image = axes.imshow(sheet, cmap="viridis", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    figure.colorbar(image, ax=axes, label="cosine similarity", shrink=0.6, aspect=30)
    return figure


def batch_norm_figure(title: str, statistics: Mapping[str, NormStatistics]) -> Figure:
    """Draw the quantiles of BatchNorm's variables over the channels, layer by layer."""
    panels = {
        "running mean / deviation": [s.mean / np.sqrt(s.var + 1e-12) for s in statistics.values()],
        "running deviation": [np.sqrt(s.var) for s in statistics.values()],
        "scale": [s.scale for s in statistics.values()],
        "bias": [s.bias for s in statistics.values()],
    }
    figure = figures.new_figure(max(0.16 * len(statistics) + 2, 7), 8.2, title)
    places = np.arange(len(statistics))
    for axes, (name, values) in zip(
        figure.subplots(4, 1, sharex=True), panels.items(), strict=True
    ):
        for low, high, color in ((0, 1, FAINT), (0.05, 0.95, "#b9cfe3"), (0.25, 0.75, SKY)):
            bounds = np.array([np.quantile(v, (low, high)) for v in values])
            axes.fill_between(places, *bounds.T, color=color, linewidth=0)
        axes.plot(places, [np.median(v) for v in values], color=BLUE, linewidth=1.2)
        if name == "running deviation":
            axes.set_yscale("log")
        axes.set_title(name, loc="left", fontsize=9, color=MUTED)
        axes.margins(x=0.01)
        figures.hide_frame(axes)
    names = [shorten(name, 28) for name in statistics]
    axes.set_xticks(places, names, rotation=90, fontsize=6, **PLAIN)
    deviations = [np.sqrt(s.var) for s in statistics.values()]
    dead = sum(int((deviation < _DEAD * deviation.max()).sum()) for deviation in deviations)
    channels = sum(deviation.size for deviation in deviations)
    text = (
        f"median, half, 90 % and all of the channels; {dead:,} of {channels:,} channels have a "
        f"running deviation below {_DEAD:g} of the layer's largest, so they are constant"
    )
    figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=MUTED)
    return figure


def activation_figure(title: str, histograms: Mapping[str, Histogram]) -> Figure:
    """Draw the histograms of layers one below the other, with the share of zeros."""
    count = len(histograms)
    figure = figures.new_figure(7.2, 0.34 * count + 1.1, title)
    axes = figure.subplots()
    for place, found in enumerate(histograms.values()):
        middles = (found.edges[1:] + found.edges[:-1]) / 2 / found.edges[-1] * 4
        shares = np.sqrt(found.counts / max(found.counts.max(), 1))
        base = float(-place)
        axes.fill_between(middles, base, base + 0.9 * shares, color=TEAL, alpha=0.75, linewidth=0)
        axes.plot(middles, base + 0.9 * shares, color=INK, linewidth=0.6)
        text = f"{np.hypot(found.mean, found.deviation):.3g}"
        style = PLAIN | {"fontsize": 7, "va": "bottom"}
        axes.text(4.1, base + 0.05, text, **style)
        if found.zeros > 0.005:
            axes.text(5.0, base + 0.05, f"{found.zeros:.0%}", **style | {"color": RED})
    axes.text(4.1, 1.1, "size", **PLAIN | {"fontsize": 8, "color": MUTED})
    axes.text(5.0, 1.1, "zeros", **PLAIN | {"fontsize": 8, "color": RED})
    axes.set_yticks(-np.arange(count), [shorten(n, 28) for n in histograms], fontsize=7, **PLAIN)
    axes.set(xlim=(-4.1, 5.7), ylim=(-count + 0.8, 1.6), xticks=range(-4, 5))
    label = "activation / root mean square (size); the height is the square root of the count"
    axes.set_xlabel(label, fontsize=8, color=MUTED)
    figures.hide_frame(axes)
    return figure
