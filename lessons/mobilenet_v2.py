"""MobileNetV2: thin tensors between the blocks save memory, but no ReLU may act on them.

Follows Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (arXiv:1801.04381):
figure 1 (a spiral through ReLU), figure 6 (linear bottlenecks, places of the shortcut), and section
5.1 (memory of inference). Here the networks of figure 6 have nine blocks of at most 24 channels and
ReLU instead of ReLU6, and learn five flowers at 32 pixels instead of ImageNet.
"""

import itertools
from collections.abc import Mapping

import flax.linen as nn
import jax
import numpy as np
from matplotlib.figure import Figure

from netzoo import compiler_options, create_model, teaching
from netzoo.layers import BatchNorm, Conv, global_avg_pool
from netzoo.models import blocks
from netzoo.teaching import COLORS, Claim, Numbers, Setting, initial_variables, panels, verdict

SOURCE = "tfds:tf_flowers"
DIMENSIONS = (2, 3, 5, 15, 30)
V2, RELU, CLASSIC, NONE = "V2", "ReLU in bottlenecks", "classic shortcuts", "no shortcuts"
# Channels of the bottlenecks, and strides.
BLOCKS = ((8, 1), (8, 1), (8, 1), (16, 2), (16, 1), (16, 1), (24, 2), (24, 1), (24, 1))
PARTS = (1, 2, 3, 4, 12)  # of the 96 channels inside a block


class Network(nn.Module):
    """A small MobileNetV2. Classic shortcuts join the wide tensors, not the bottlenecks."""

    num_classes: int
    variant: str

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Map images `[batch, H, W, 3]` to logits `[batch, num_classes]`."""

        def conv(x: jax.Array, features: int, kernel_size: int = 1, **options) -> jax.Array:
            return BatchNorm()(Conv(features, kernel_size, **options)(x), train=train)

        def expand(x: jax.Array, before: jax.Array) -> jax.Array:
            wide = conv(x, 6 * x.shape[-1])
            add = self.variant == CLASSIC and wide.shape == before.shape
            return nn.relu(wide + before if add else wide)

        x = wide = nn.relu(conv(images, BLOCKS[0][0], 3, stride=2))
        for channels, stride in BLOCKS:
            wide = expand(x, wide)
            y = nn.relu(conv(wide, wide.shape[-1], 3, stride=stride, groups=wide.shape[-1]))
            y = nn.relu(conv(y, channels)) if self.variant == RELU else conv(y, channels)
            x = x + y if self.variant in (V2, RELU) and x.shape == y.shape else y
        return nn.Dense(self.num_classes)(global_avg_pool(expand(x, wide)))


def measure(setting: Setting) -> Numbers:
    """Send a spiral through ReLU, look at memory, and train the variants."""
    angle = np.linspace(0, 4 * np.pi, 400)
    spiral = np.stack([angle * np.cos(angle), angle * np.sin(angle)]) / angle.max()
    numbers: Numbers = {"spiral": spiral}
    for dimensions in DIMENSIONS:
        errors = []
        for seed in range(setting.choose(100, 10)):
            matrix = np.random.default_rng(seed).normal(size=(dimensions, 2))
            back = np.linalg.pinv(matrix) @ np.maximum(matrix @ spiral, 0)
            back *= (back * spiral).sum() / (back**2).sum()  # the size that fits best
            errors.append(np.linalg.norm(back - spiral) / np.linalg.norm(spiral))
        numbers |= {f"back/{dimensions}": back, f"error/{dimensions}": np.array(errors)}
    numbers |= {f"live/{v}": live_megabytes(f"mobilenet_{v}") for v in ("v1", "v2")}
    numbers["parts"] = np.array([(n, part_megabytes(n)) for n in setting.choose(PARTS, (1, 12))])
    if setting.quick:  # compiling the networks takes too long
        return numbers
    pictures = setting.pictures(32)
    for name in (V2, RELU, CLASSIC, NONE):
        model = Network(pictures.num_classes, name)
        watch = teaching.evaluator(model, pictures.validation, pictures.validation_labels)
        options = {"steps": 300, "optimizer": 3e-3, "watch": watch, "watch_every": 50}
        fits = [teaching.fit(model, pictures, seed=seed, **options) for seed in range(3)]
        numbers[f"accuracy/{name}"] = np.array([100 * f.watched["accuracy"] for f in fits])
    return numbers | {"steps": fits[0].watched_steps}


def live_megabytes(name: str) -> np.ndarray:
    """Return the megabytes of the stem, each block and the head with 16-bit numbers, `[n, 2]`.

    They are the inputs and outputs (section 5.1) of the largest convolution, and of the block.
    """
    rows = []
    convolutions = teaching.convolutions(create_model(name), 224)
    for _, layers in itertools.groupby(convolutions, lambda conv: conv.name.split("/")[0]):
        sizes = [(np.prod(conv.inputs), np.prod(conv.outputs)) for conv in layers]
        rows.append((max(map(sum, sizes)), sizes[0][0] + sizes[-1][1]))
    return 2 * np.array(rows) / 1e6


def part_megabytes(parts: int) -> float:
    """Return the megabytes that a part of the first block of stage 2 reserves when compiled."""
    settings = blocks.ConvNormAct.of(blocks.ConvNet(), nn.relu6)
    model = blocks.InvertedResidual(settings, features=24, expansion=6 / parts, stride=2)
    x = np.zeros((1, 112, 112, 16), np.float32)
    run, variables = jax.jit(model.apply, static_argnames="train"), initial_variables(model, x)
    program = run.lower(variables, x, train=False).compile(compiler_options())
    return program.memory_analysis().temp_size_in_bytes / 1e6


def claims(numbers: Mapping[str, np.ndarray]) -> list[Claim]:
    """Judge the numbers."""
    few, many, parts = numbers["error/2"], numbers["error/30"], numbers["parts"]
    v1, (layers, whole) = numbers["live/v1"][:, 0].max(), numbers["live/v2"].max(0)
    spiral = f"The error falls from {few.mean():.2f} in 2 dimensions to {many.mean():.2f} in 30."
    peaks = f"The peak is {v1:.1f} MB in V1; in V2 {layers:.1f} MB, or {whole:.1f} MB by blocks."
    inside = f"{parts[0, 1]:.1f} MB at once, {parts[-1, 1]:.1f} MB in {parts[-1, 0]:.0f} parts."
    found = [
        Claim("A spiral survives ReLU in many dimensions.", spiral, verdict(few - many)),
        Claim("V2 saves memory if wide tensors are never whole.", peaks, verdict(v1 - whole)),
        Claim("A block in parts needs less memory.", inside, verdict(-np.diff(parts[:, 1]))),
    ]
    for name in (RELU, CLASSIC, NONE) if "steps" in numbers else ():
        best, other = (numbers[f"accuracy/{n}"][:, -1] for n in (V2, name))
        text = f"{best.mean():.1f} % against {other.mean():.1f} %."
        found += [Claim(f"V2 is more accurate than {name}.", text, verdict(best - other))]
    return found


def draw(numbers: Mapping[str, np.ndarray]) -> dict[str, Figure]:
    """Draw the spirals, the memory and the trainings."""
    shown = {f"{n} dimensions": numbers[f"back/{n}"] for n in DIMENSIONS}
    shown = {"input": numbers["spiral"], **shown}
    spiral, grid = panels("ReLU keeps a spiral only in many dimensions", [*shown], columns=3)
    for axes, points in zip(grid, shown.values(), strict=True):
        axes.scatter(*points, c=np.arange(points.shape[1]), cmap="viridis", s=8, rasterized=True)
        axes.set_aspect("equal", "datalim")
    names = ["Live tensors by block", "Inside one block, in parts"]
    memory, (left, right) = panels("V2 saves memory if wide tensors are never whole", names)
    live = {"V2, by layers": numbers["live/v2"][:, 0], "V2, by blocks": numbers["live/v2"][:, 1]}
    teaching.lines(left, np.arange(19), live, marker="o")
    left.plot(numbers["live/v1"][:, 0], "s:", color=COLORS[2], linewidth=2.2, label="V1, by layers")
    left.set_xticks(range(0, 19, 3))
    teaching.label(left, "block", "memory (MB)")
    teaching.bars(right, {f"{n:.0f}": megabytes for n, megabytes in numbers["parts"]}, digits=1)
    teaching.label(right, "memory (MB)", "parts", legend=False)
    if "steps" not in numbers:
        return {"spiral": spiral, "memory": memory}
    names = ["ReLU after the projection?", "Where is the shortcut?"]
    training, grid = panels("Linear bottlenecks with shortcuts learn best", names)
    for axes, variants in zip(grid, ((V2, RELU), (V2, CLASSIC, NONE)), strict=True):
        teaching.lines(axes, numbers["steps"], {v: numbers[f"accuracy/{v}"] for v in variants})
        teaching.label(axes, "step", "validation accuracy (%)")
    return {"spiral": spiral, "memory": memory, "training": training}
