"""MobileNetV1: a depthwise and a 1x1 convolution replace a dense one at an eighth of its cost.

Follows Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications" (arXiv:1704.04861): section 3.1 and table 2 (cost of a layer), table 4 (dense
convolutions), tables 6 and 7 (multipliers of width and resolution). Here the trained networks have
six blocks and learn five flowers instead of ImageNet.
"""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product

import flax.linen as nn
import jax
import numpy as np
from matplotlib.figure import Figure

from netzoo import compiler_options, create_model, kernels, teaching
from netzoo.layers import BatchNorm, Conv, global_avg_pool
from netzoo.teaching import COLORS, Claim, Convolution, Numbers, Setting, panels, verdict

SOURCE = "tfds:tf_flowers"
BLOCKS = ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2))  # channels, stride
WIDTHS, SIZES = (0.25, 0.5, 1.0), (32, 48, 64)  # width multipliers; pixels of an image
KINDS = ("dense", "separable", "separable, plain XLA")


class Network(nn.Module):
    """A small MobileNetV1, or the same network with dense 3x3 convolutions."""

    num_classes: int
    width: float = 1.0
    dense: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Map images `[batch, H, W, 3]` to logits `[batch, num_classes]`."""

        def conv(x: jax.Array, features: int, kernel_size: int = 3, **options) -> jax.Array:
            x = Conv(features, kernel_size, **options)(x)
            return nn.relu(BatchNorm()(x, train=train))

        x = conv(images, int(16 * self.width), stride=2)
        for channels, stride in BLOCKS:
            if self.dense:
                x = conv(x, int(channels * self.width), stride=stride)
            else:
                x = conv(x, x.shape[-1], stride=stride, groups=x.shape[-1])
                x = conv(x, int(channels * self.width), 1)
        return nn.Dense(self.num_classes)(global_avg_pool(x))


def compiled_layer(kind: str, depthwise: Convolution, pointwise: Convolution) -> Callable:
    """Return a call of a compiled layer without BatchNorm and ReLU."""
    channels, features, stride = depthwise.outputs[-1], pointwise.outputs[-1], depthwise.stride
    model = nn.Sequential([Conv(channels, 3, stride, groups=channels), Conv(features, 1)])
    model = Conv(features, 3, stride) if kind == "dense" else model
    image = np.ones((1, *depthwise.inputs), np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), image)
    with kernels.use_backend("native" if "XLA" in kind else kernels.backend()):
        run = jax.jit(model.apply).lower(variables, image).compile(compiler_options())
    return partial(run, variables, image)


def measure(setting: Setting) -> Numbers:
    """Count and time the layers of MobileNetV1, and train networks of several sizes."""
    layers = teaching.convolutions(create_model("mobilenet_v1"), 224)[1:]  # without the stem
    blocks = list(zip(layers[::2], layers[1::2], strict=True))
    costs = np.array([[layer.multiply_adds for layer in block] for block in blocks])
    timed = blocks[: setting.choose(13, 1)]
    calls = {str(n): compiled_layer(k, *b) for n, (k, b) in enumerate(product(KINDS, timed))}
    times = teaching.interleaved_times(calls, setting.choose(20, 2))
    medians = np.median([*times.values()], -1).reshape(3, -1)
    models = [(Network(5, width), size) for width, size in product(WIDTHS, SIZES)]
    models.append((Network(5, dense=True), SIZES[0]))
    totals = [sum(c.multiply_adds for c in teaching.convolutions(*model)) for model in models]
    features = np.array([pointwise.outputs[-1] for _, pointwise in blocks])
    numbers = {"costs": costs, "features": features, "times": medians, "totals": np.array(totals)}
    if setting.quick:  # compiling the networks takes too long
        return numbers
    accuracy, calls = [], {}
    pictures_by_size = {size: setting.pictures(size) for size in SIZES}
    for number, (model, size) in enumerate(models):
        pictures = pictures_by_size[size]
        score = teaching.evaluator(model, pictures.validation, pictures.validation_labels)
        fits = [teaching.fit(model, pictures, steps=250, optimizer=3e-3, seed=s) for s in range(3)]
        accuracy.append([100 * score(f.variables)["accuracy"] for f in fits])
        run = jax.jit(partial(model.apply, train=False), compiler_options=compiler_options())
        images = teaching.normalize(pictures.train[:32])
        calls[str(number)] = partial(run, fits[0].variables, images)
    times = teaching.interleaved_times(calls, 50)
    return numbers | {"accuracy": np.array(accuracy), "latency": np.median([*times.values()], -1)}


def claims(numbers: Mapping[str, np.ndarray]) -> list[Claim]:
    """Judge the numbers."""
    cost = numbers["costs"].sum(1) / (9 * numbers["costs"][:, 1])
    error = abs(cost - 1 / numbers["features"] - 1 / 9)
    share = 100 * numbers["times"][1:] / numbers["times"][0]
    ours, plain = np.median(share, 1)
    text = f"{100 * cost[0]:.1f} % in the first block to {100 * cost[-1]:.1f} % in the last."
    found = [Claim("A block costs 1/N + 1/9 of a dense layer.", text, verdict(1e-9 - error))]
    text = f"{ours:.0f} % of the time (median of the blocks), {plain:.0f} % in plain XLA."
    found += [Claim("Every block is faster than a dense layer.", text, verdict(100 - share[0]))]
    if "accuracy" not in numbers:
        return found
    grid, dense = numbers["accuracy"][:-1].reshape(3, 3, 3), numbers["accuracy"][-1]
    text = f"{grid[2, 0].mean():.1f} % against {dense.mean():.1f} % at {SIZES[0]} pixels."
    near = verdict(grid[2, 0] - dense + 2)
    found += [Claim("A separable network loses at most 2 points.", text, near)]
    for name, by in (("Wider networks", grid.mean(1)), ("Larger images", grid.mean(0))):
        text = f"{by[0].mean():.1f}, {by[1].mean():.1f}, {by[2].mean():.1f} %."
        found += [Claim(f"{name} are more accurate.", text, verdict(by[2] - by[0]))]
    cost, time = (numbers[name][8] / numbers[name][0] for name in ("totals", "latency"))
    text = f"{cost:.0f} times the multiply-adds take {time:.1f} times the time."
    return [*found, Claim("Smaller networks are faster.", text, verdict(time - 1))]


def draw(numbers: Mapping[str, np.ndarray]) -> dict[str, Figure]:
    """Draw the blocks, and accuracy against cost and latency."""
    block, formula = 1 + np.arange(13), 100 / numbers["features"] + 100 / 9
    counted = 100 * numbers["costs"].sum(1) / (9 * numbers["costs"][:, 1])
    title = "Separable blocks save more multiply-adds than time"
    blocks, grid = panels(title, ["Multiply-adds", "Time of one image"])
    teaching.lines(grid[0], block, {"1/N + 1/9": formula})
    grid[0].plot(block, counted, "o", color=COLORS[1], label="counted")
    grid[0].set_ylim(top=16)
    dense, *separable = numbers["times"]
    curves = {kind: 100 * times / dense for kind, times in zip(KINDS[1:], separable, strict=True)}
    teaching.lines(grid[1], block[: len(dense)], curves, marker="o")
    for axes in grid:
        teaching.label(axes, "block", "percent of a dense layer")
        axes.set_ylim(bottom=0)
    if "accuracy" not in numbers:
        return {"blocks": blocks}
    title = "Wider networks (larger dots) and larger images are more accurate, but cost more"
    multipliers, grid = panels(title, ["Multiply-adds", "Latency"])
    units = ("million multiply-adds for one image", "milliseconds for 32 images")
    costs = (numbers["totals"] / 1e6, numbers["latency"])
    for axes, unit, cost in zip(grid, units, costs, strict=True):
        for column, size in enumerate(SIZES):
            x, accuracy = cost[column:9:3], numbers["accuracy"][column:9:3]
            axes.plot(x, accuracy.mean(1), color=COLORS[column], label=f"{size} px")
            axes.scatter(x, accuracy.mean(1), 200 * np.array(WIDTHS), color=COLORS[column])
            axes.plot(x, accuracy, ".", color=COLORS[column], alpha=0.5)
        axes.plot(cost[9], numbers["accuracy"][9].mean(), "k*", markersize=13, label="dense, 32 px")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        teaching.label(axes, unit, "validation accuracy (%)")
    return {"blocks": blocks, "multipliers": multipliers}
