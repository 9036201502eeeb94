"""VGG: stacked 3x3 convolutions see as far as one large kernel, cost less and learn more.

Follows Simonyan and Zisserman (arXiv:1409.1556), sections 2.3, 3.1 and 4.1, and for effective
receptive fields Luo et al. (arXiv:1701.04128), section 2. Here, networks and images are small.
"""

import flax.linen as nn
import jax
import numpy as np
from matplotlib.figure import Figure

from netzoo import teaching
from netzoo.layers import BatchNorm, Conv, endpoint, global_avg_pool, max_pool
from netzoo.models.summary import model_summary
from netzoo.teaching import Claim, Numbers, bars, fit, label, lines, panels, verdict

STACKS = {"one 5x5": (5,), "two 3x3": (3, 3), "one 7x7": (7,), "three 3x3": (3, 3, 3)}
# Kernels of five stages. Networks of 10 and 16 layers are columns B and E of the paper's table 1.
DEPTHS = {5: 5 * ((3,),), 10: 5 * ((3, 3),), 16: 2 * ((3, 3),) + 3 * ((3, 3, 3, 3),)}
HE = nn.initializers.he_normal()  # keeps the size of a signal (arXiv:1502.01852, section 2.2)
# With an eighth of the channels, this shrinks a signal as much as 0.01 does with all of them.
SMALL = nn.initializers.normal(0.01 * 8**0.5)
# The initializer, whether there is BatchNorm, and the peak learning rate.
WAYS = {
    "BatchNorm": (HE, True, 0.05),
    "He init": (HE, False, 0.05),
    "He init, rate 0.01": (HE, False, 0.01),
    "small init": (SMALL, False, 0.05),
}


class Stages(nn.Module):
    """Stages of convolutions with ReLU, a 2x2 max-pool between them, and a dense layer."""

    kernels: tuple[tuple[int, ...], ...]  # kernel sizes of each stage
    channels: tuple[int, ...]
    num_classes: int
    weights: nn.initializers.Initializer = HE
    norm: bool = True  # whether BatchNorm follows each convolution

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map images `[batch, height, width, 3]` to logits `[batch, num_classes]`."""
        for stage, (kernels, channels) in enumerate(zip(self.kernels, self.channels, strict=True)):
            x = endpoint(self, f"input{stage}", max_pool(x, 2, 2, padding=0) if stage else x)
            for kernel in kernels:
                x = Conv(channels, kernel, use_bias=not self.norm, kernel_init=self.weights)(x)
                x = nn.relu(BatchNorm()(x, train=train) if self.norm else x)
            x = endpoint(self, f"output{stage}", x)
        return nn.Dense(self.num_classes)(global_avg_pool(x))


def measure(setting: teaching.Setting) -> Numbers:
    """Look at receptive fields, costs and gradients; the full form also trains."""
    pictures, networks, numbers = setting.pictures(32), setting.choose(500, 20), Numbers()
    for name, kernels in STACKS.items():
        stack = Stages(((3,), kernels), (8, 8), 1)
        squares = teaching.random_gradient_map(stack, 22, "input1", "output1", networks)
        model = Stages(((3,), kernels, kernels), (24, 24, 24), pictures.num_classes)
        cost = model_summary(model, 32)
        numbers |= {f"map/{name}": squares, f"widths/{name}": teaching.field_widths(squares)}
        numbers[f"cost/{name}"] = np.array([cost.parameters / 1e3, cost.macs / 1e6])
        if not setting.quick:
            score = teaching.evaluator(model, pictures.validation, pictures.validation_labels)
            fits = [fit(model, pictures, steps=150, seed=seed) for seed in range(3)]
            numbers[f"accuracy/{name}"] = np.array([score(f.variables)["accuracy"] for f in fits])
    for depth in setting.choose((5, 10, 16), (5, 10)):
        for way in setting.choose(tuple(WAYS), ("small init",)):
            numbers |= deep_network(way, depth, pictures, setting.choose(2, 0))
    return numbers


def deep_network(way: str, depth: int, pictures: teaching.Pictures, seeds: int) -> Numbers:
    """Return the gradients of the kernels at the start, and the losses `[seeds, steps]`."""
    init, norm, rate = WAYS[way]
    channels = (8, 16, 32, 64, 64)  # an eighth of the paper's
    model = Stages(DEPTHS[depth], channels, pictures.num_classes, init, norm)
    batch = pictures.train[:32], pictures.train_labels[:32]
    norms = teaching.gradient_norms(model, teaching.initial_variables(model, batch[0]), *batch)
    sgd = teaching.sgd(rate, 150)
    runs = [fit(model, pictures, steps=150, optimizer=sgd, seed=seed) for seed in range(seeds)]
    return {
        f"gradients/{way}/{depth}": np.array([norms[f"Conv_{n}/kernel"] for n in range(depth)]),
        f"loss/{way}/{depth}": np.array([teaching.smooth(run.loss, 20) for run in runs]),
    }


def claims(numbers: Numbers) -> list[Claim]:
    """Judge the numbers."""
    theory, effective = np.array([numbers[f"widths/{name}"] for name in STACKS]).T
    costs = np.array([numbers[f"cost/{name}"] for name in STACKS])
    saved = (1 - costs[1::2] / costs[::2]).ravel()
    sees = ["{} {:.0f} and {:.1f}".format(name, *numbers[f"widths/{name}"]) for name in STACKS]
    found = [
        Claim(
            "A stack of 3x3 convolutions sees as far as one large kernel, but mostly the centre.",
            f"Theoretical and effective width in pixels: {', '.join(sees)}.",
            verdict(np.where(theory[::2] == theory[1::2], effective[::2] - effective[1::2], -1)),
        ),
        Claim(
            "The stack has fewer parameters and multiply-adds.",
            "Two save {:.0%} and {:.0%} of 5x5; three {:.0%} and {:.0%} of 7x7.".format(*saved),
            verdict(saved),
        ),
    ]
    if "accuracy/one 5x5" in numbers:
        right = np.array([numbers[f"accuracy/{name}"] for name in STACKS])
        said = "Two reach {1:.1%}, one 5x5 {0:.1%}; three reach {3:.1%}, one 7x7 {2:.1%}."
        gains = verdict((right[1::2] - right[::2]).ravel())
        found.append(Claim("The stack is more accurate.", said.format(*right.mean(1)), gains))
        loss = {way: np.array([numbers[f"loss/{way}/{d}"][:, -1] for d in DEPTHS]) for way in WAYS}
        norm, he = loss["BatchNorm"], np.fmin(loss["He init"], loss["He init, rate 0.01"])
        ends = "; ".join(f"{way}: {values[-1].mean():.2f}" for way, values in loss.items())
        found.append(Claim("BatchNorm trains 16 layers best.", ends, verdict(he[-1] - norm[-1])))
        rises = he[-1] - he[0], norm[-1] - norm[0]
        said = "From 5 to 16 layers, the loss rises by {:.2f}; with BatchNorm, by {:.2f}."
        said, worse = said.format(*np.mean(rises, 1)), verdict(rises[0] - rises[1])
        found.append(Claim("Without BatchNorm, deeper networks stop training.", said, worse))
    return found


def draw(numbers: Numbers) -> dict[str, Figure]:
    """Draw receptive fields, and the trainings of the full form."""
    title = "A 3x3 stack sees as far as a large kernel, but mostly the centre"
    fields, grid = panels(title, [*STACKS], columns=2)
    for axes, name in zip(grid, STACKS, strict=True):
        axes.imshow(np.sqrt(numbers[f"map/{name}"]), extent=(-5.5, 5.5, -5.5, 5.5), zorder=3)
        reach = "effective width {1:.1f} of {0:.0f} pixels".format(*numbers[f"widths/{name}"])
        label(axes, reach, "pixels", legend=False)
    if "accuracy/one 5x5" not in numbers:
        return {"receptive_fields": fields}
    names = ["parameters (thousands)", "multiply-adds (millions)", "validation accuracy"]
    costs, grid = panels("A stack of 3x3 costs less and is more accurate", names)
    bars(grid[0], {name: numbers[f"cost/{name}"][0] for name in STACKS}, 1)
    bars(grid[1], {name: numbers[f"cost/{name}"][1] for name in STACKS}, 1)
    bars(grid[2], {name: numbers[f"accuracy/{name}"] for name in STACKS}, 3)
    names = ["gradients at the start, 16 layers", "training of 16 layers", "after 150 steps"]
    depth, grid = panels("BatchNorm trains 16 layers; small random weights do not train", names)
    lines(grid[0], np.arange(1, 17), {way: numbers[f"gradients/{way}/16"] for way in WAYS})
    grid[0].set_yscale("log")
    label(grid[0], "convolution", "norm of the gradient")
    lines(grid[1], np.arange(1, 151), {way: numbers[f"loss/{way}/16"] for way in WAYS})
    label(grid[1], "step", "training loss", legend=False)
    last = {way: np.array([numbers[f"loss/{way}/{d}"][:, -1] for d in DEPTHS]).T for way in WAYS}
    lines(grid[2], np.array([*DEPTHS]), last, marker="o")
    label(grid[2], "convolutions", "training loss", legend=False)
    return {"receptive_fields": fields, "costs": costs, "depth": depth}
