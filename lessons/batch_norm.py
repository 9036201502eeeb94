"""BatchNorm lets a network train at higher learning rates, but ties each image to its batch.

Follows Ioffe and Szegedy, "Batch Normalization" (arXiv:1502.03167): figure 1 (inputs of a
nonlinearity during training) and sections 3.1 (inference), 3.2 (the bias) and 3.3 (learning rates).
The network here has nine convolutions and ReLUs; that of the figure has dense layers and sigmoids.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import numpy as np
from matplotlib.figure import Figure

from netzoo import teaching
from netzoo.layers import BatchNorm, Conv, endpoint, global_avg_pool
from netzoo.teaching import Claim, Numbers, Setting, by_seed, verdict

NAMES = {"bn": "with BatchNorm", "plain": "without"}
RATE, TIMES = 0.03, 20  # at this learning rate, the inputs of layers are recorded 20 times
TRAINED = 0.3  # guessing gives 0.2, with a standard deviation of 0.02 on 480 images


class Stack(nn.Module):
    """Convolutions with a bias, BatchNorm or nothing, and ReLU; stride 2 at new channels."""

    num_classes: int
    channels: tuple[int, ...]
    norm: bool = True
    forget_train: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map images `[batch, H, W, 3]` to logits `[batch, num_classes]`."""
        for layer, channels in enumerate(self.channels, 1):
            stride = 1 if x.shape[-1] == channels else 2
            x = Conv(channels, 3, stride=stride, use_bias=True, name=f"conv{layer}")(x)
            if self.norm:
                x = BatchNorm(name=f"norm{layer}")(x, train=train and not self.forget_train)
            x = nn.relu(endpoint(self, f"input{layer}", x))
        return nn.Dense(self.num_classes, name="logits")(global_avg_pool(x))


def measure(setting: Setting) -> Numbers:
    """Train at several learning rates, with and without BatchNorm, and at several batch sizes."""
    pictures = setting.pictures(setting.choose(32, 16))
    held_out = images, labels = pictures.validation, pictures.validation_labels
    few, by_class = (images[:64], labels[:64]), np.argsort(labels, kind="stable")
    channels = setting.choose((8, 8, 8, 16, 16, 16, 32, 32, 32), (4, 8))
    steps, seeds = setting.choose(200, 20), range(setting.choose(3, 1))
    rates = setting.choose((0.003, 0.01, RATE, 0.1, 0.3, 1.0, 3.0), (RATE,))
    sizes = setting.choose((2, 4, 8, 32), (8,))

    def train(model, rate, steps, **options):
        sgd = teaching.sgd(rate, steps)
        return teaching.fit(model, pictures, steps=steps, optimizer=sgd, augment=False, **options)

    numbers: Numbers = {"rates": np.array(rates), "sizes": np.array(sizes)}
    for name in NAMES:
        model = Stack(pictures.num_classes, channels, norm=name == "bn")
        accuracy = teaching.evaluator(model, *held_out)
        runs = [[train(model, rate, steps, seed=seed) for rate in rates] for seed in seeds]
        found = [[accuracy(run.variables)["accuracy"] for run in row] for row in runs]
        watch = teaching.endpoint_percentiles(model, images[:64], train=True)
        run = train(model, RATE, steps, watch=watch, watch_every=steps // TIMES)
        norms = teaching.gradient_norms(model, teaching.initial_variables(model, images), *few)
        numbers |= {
            "steps": run.watched_steps,
            f"accuracy/{name}": np.array(found),
            f"inputs/{name}": np.array([*run.watched.values()], np.float32),
            f"bias/{name}": np.array([norms[f"conv{n + 1}/bias"] for n in range(len(channels))]),
        }
    model, forgets = (Stack(pictures.num_classes, channels, forget_train=f) for f in (False, True))
    modes = np.empty((3, len(sizes), len(seeds)))
    for row, size in enumerate(sizes):
        rate, count = 0.1 * size / 32, 32 * setting.choose(300, 20) // size
        options = {"train": True, "batch_size": size}
        scores = [teaching.evaluator(model, *held_out)]
        for data in (held_out, (images[by_class], labels[by_class])):
            scores.append(teaching.evaluator(model, *data, **options))
        for seed in seeds:
            variables = train(model, rate, count, batch_size=size, seed=seed).variables
            modes[:, row, seed] = [score(variables)["accuracy"] for score in scores]
    lost = [scores[0](train(forgets, rate, count, seed=s).variables)["accuracy"] for s in seeds]
    return numbers | {"modes": modes, "lost": np.array(lost)}


def claims(numbers: Mapping[str, np.ndarray]) -> list[Claim]:
    """Judge the numbers."""
    accuracy = [numbers[f"accuracy/{name}"] for name in NAMES]
    high, low = (np.where(a >= TRAINED, numbers["rates"], 0).max(1) for a in accuracy)
    spreads = [np.ptp(numbers[f"inputs/{name}"].reshape(-1, 3, TIMES + 1), 1) for name in NAMES]
    with_norm, without = ((spread.max(1) / spread.min(1)).max() for spread in spreads)
    modes, lost, most = numbers["modes"], numbers["lost"], numbers["bias/bn"].max()
    (small, small_batch, _), (large, _, one_class) = modes[:, [0, -1]].mean(2).T
    return [
        Claim(
            "BatchNorm allows higher learning rates.",
            f"Highest rate to {TRAINED:.0%}, by seed: {by_seed(high)}; without, {by_seed(low)}.",
            verdict(high - low),
        ),
        Claim(
            "BatchNorm keeps the distribution of the inputs of layers stable.",
            f"Their spread varies up to {with_norm:.1f}-fold with it, {without:.1f}-fold without.",
            verdict(without - with_norm),
        ),
        Claim(
            "Small batches cost accuracy.",
            f"Batches of 2 give {small:.0%}, batches of 32 give {large:.0%}.",
            verdict(modes[0, -1] - modes[0, 0]),
        ),
        Claim(
            "The wrong `train` flag costs accuracy.",
            f"Evaluation with it: {small_batch:.0%} instead of {small:.0%} in batches of 2; "
            f"{one_class:.0%} instead of {large:.0%} in batches of 32 images of one class. "
            f"Training without it: {lost.mean():.0%}.",
            verdict(np.stack([*(modes[0] - modes[1:].min(0)), modes[0, -1] - lost])),
        ),
        Claim(
            "A bias before BatchNorm has gradient 0.",
            f"Norms: at most {most:.0e} with, at least {numbers['bias/plain'].min():.0e} without.",
            verdict(1e-4 * numbers["bias/plain"].min() - most),
        ),
    ]


def draw(numbers: Mapping[str, np.ndarray]) -> dict[str, Figure]:
    """Draw the numbers."""
    curves = {x: {NAMES[n]: numbers[f"{x}/{n}"] for n in NAMES} for x in ("accuracy", "bias")}
    kinds = ("running statistics", "those of the batch", "batches of one class")
    modes = dict(zip(kinds, numbers["modes"].swapaxes(1, 2), strict=True))
    layers, log = range(1, len(numbers["bias/bn"]) + 1), {"xscale": "log"}
    shown = {f"layer {n} {NAMES[m]}": (m, n) for m in NAMES for n in layers[:: len(layers) // 2]}
    bound = max(abs(numbers[f"inputs/{name}"]).max() for name in NAMES)
    title = "With BatchNorm, the inputs of ReLUs keep their spread"
    inputs, grid = teaching.panels(title, [*shown], columns=3, height=2.6)
    for axes, (name, layer) in zip(grid, shown.values(), strict=True):
        low, middle, high = numbers[f"inputs/{name}"].reshape(-1, 3, TIMES + 1)[layer - 1]
        axes.fill_between(numbers["steps"], low, high, color=teaching.COLORS[4], alpha=0.4)
        axes.plot(numbers["steps"], middle, color=teaching.COLORS[0])
        axes.set_ylim(-bound, bound)
        teaching.label(axes, "step", "input of ReLU", legend=False)
    label, title = ("peak learning rate", "accuracy"), "BatchNorm trains at high learning rates"
    rates = teaching.chart(title, numbers["rates"], curves["accuracy"], label, **log)
    label, title = ("batch size", "accuracy"), "Evaluation needs the running statistics"
    ticks = {"xticks": numbers["sizes"], "xticklabels": numbers["sizes"]}
    batches = teaching.chart(title, numbers["sizes"], modes, label, **log, **ticks)
    label, title = ("layer", "norm of gradient"), "Before BatchNorm, a bias has no gradient"
    bias = teaching.chart(title, layers, curves["bias"], label, yscale="log")
    return {"rates": rates, "inputs": inputs, "batches": batches, "bias": bias}
