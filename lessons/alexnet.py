"""AlexNet brought ReLUs, which do not saturate, and dropout, which reduces overfitting.

Follows Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks"
(NeurIPS 2012): figure 1 (training error of 25 %), sections 3.3 (response normalisation) and 4.2
(dropout). Here the images are drawn flowers, and AlexNet is narrow and reads 64 pixels.
"""

import functools
from collections.abc import Mapping

import flax.linen as nn
import jax
import numpy as np
from matplotlib.figure import Figure

from netzoo import teaching
from netzoo.layers import Conv, Dense, local_response_norm, max_pool
from netzoo.models.alexnet import TWO_GPUS, AlexNet
from netzoo.models.blocks import zero_bias
from netzoo.teaching import Claim, Numbers, Setting, by_seed, sgd, verdict

UNITS = ("relu", "tanh", "sigmoid")
TARGET = 0.25  # training error, as in figure 1
KINDS = {"train": 0, "validation": 2}
HE = nn.initializers.he_normal()


def smaller(key: jax.Array, shape: tuple[int, ...], dtype: type) -> jax.Array:
    """Return initial weights; the two convolutions wider than 3x3 are divided by 2 ** 0.75."""
    return HE(key, shape, dtype) / (2**0.75 if len(shape) == 4 and shape[0] > 3 else 1)


# Response normalisation, rate of dropout, and initial weights.
NETWORKS = {"AlexNet": (True, 0.5, HE), "no norm": (False, 0.5, HE)}
NETWORKS |= {"only smaller": (False, 0.5, smaller), "no dropout": (True, 0.0, HE)}
DROPOUT = ("AlexNet", "no dropout")


class FourLayers(nn.Module):
    """Three convolutions with overlapping pools, and a dense layer."""

    num_classes: int
    unit: str
    channels: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map images `[batch, H, W, 3]` to logits `[batch, num_classes]`."""
        for channels in self.channels:
            x = Conv(channels, 5, use_bias=True, kernel_init=nn.initializers.lecun_normal())(x)
            x = max_pool(getattr(nn, self.unit)(x), 3, 2, padding=0)
        return Dense(self.num_classes)(x.reshape(len(x), -1))


def measure(setting: Setting) -> Numbers:
    """Train the units, each at its best learning rate, and AlexNet with and without two parts."""
    seeds, values = range(setting.choose(3, 1)), np.geomspace(0.1, 1000, 50)
    alone, equal = values[:, None] * np.eye(5)[2], values[:, None] * np.ones(5)  # five channels
    middle = np.array([local_response_norm(x)[:, 2] for x in (alone, equal)])
    return {
        "values": values,
        "normalized": middle,
        **measure_units(setting, seeds),
        **measure_parts(setting, seeds),
    }


def measure_units(setting: Setting, seeds: range) -> Numbers:
    """Return the training errors of each unit, `[seeds, times]`, at its best learning rate."""
    pictures, steps = setting.pictures(setting.choose(32, 16)), setting.choose(300, 5)
    rates, numbers = setting.choose((0.003, 0.01, 0.03, 0.1), (0.01,)), {}
    for unit in UNITS:
        model = FourLayers(pictures.num_classes, unit, setting.choose((16, 16, 32), (4,)))
        watch = teaching.evaluator(model, pictures.train[:480], pictures.train_labels[:480])
        options = {"steps": steps, "augment": False, "watch": watch, "watch_every": 15}
        train = functools.partial(teaching.fit, model, pictures, **options)
        runs = {rate: train(optimizer=sgd(rate)) for rate in rates}
        best = max(rates, key=lambda rate: runs[rate].watched["accuracy"].mean())
        runs = [runs[best], *(train(optimizer=sgd(best), seed=seed) for seed in seeds[1:])]
        errors = np.array([1 - run.watched["accuracy"] for run in runs])
        numbers |= {f"error/{unit}": errors, f"rate/{unit}": best, "steps": runs[0].watched_steps}
    return numbers


def measure_parts(setting: Setting, seeds: range) -> Numbers:
    """Return accuracies of AlexNet on images of training and validation, `[seeds, times]`."""
    pictures, steps = setting.pictures(64, setting.choose(640, 32)), setting.choose(450, 0)
    channels, numbers = setting.choose((16, 32, 32, 32, 32), (4, 4, 4, 4, 4)), {}
    for name, (norm, dropout, init) in NETWORKS.items():
        options = {"response_norm": norm, "kernel_init": init, "bias_init": zero_bias}
        narrow = TWO_GPUS._replace(channels=channels, **options)
        model = AlexNet(narrow, pictures.num_classes, setting.choose(256, 8), dropout)
        scores = {k: teaching.evaluator(model, *pictures[i : i + 2]) for k, i in KINDS.items()}
        options = {"steps": steps, "augment": False, "watch_every": 45}
        options["watch"] = lambda v, s=scores: {kind: s[kind](v)["accuracy"] for kind in s}
        runs = [teaching.fit(model, pictures, seed=seed, **options) for seed in seeds]
        numbers |= {f"{k}/{name}": np.array([run.watched[k] for run in runs]) for k in KINDS}
        numbers["part_steps"] = runs[0].watched_steps
        if name == "AlexNet":
            largest = teaching.endpoint_percentiles(model, pictures.validation[:64], (99,))
            numbers["largest"] = largest(runs[0].variables)["stem/99"]
    return numbers


def claims(numbers: Mapping[str, np.ndarray]) -> list[Claim]:
    """Judge the numbers."""
    steps, reached = numbers["steps"], [numbers[f"error/{unit}"] <= TARGET for unit in UNITS]
    relu, tanh, sigmoid = (np.where(r.any(1), steps[r.argmax(1)], np.inf) for r in reached)
    full, no_norm, small, no_dropout = (numbers[f"validation/{n}"][:, -1] for n in NETWORKS)
    gaps = [(numbers[f"train/{n}"] - numbers[f"validation/{n}"])[:, -1] for n in DROPOUT]

    def compare(claim, with_it, without, sign=1, word="without"):
        measured = f"{with_it.mean():.1%} with it, {without.mean():.1%} {word}."
        return Claim(claim, measured, verdict(sign * (with_it - without)))

    return [
        *(
            Claim(
                f"ReLUs need fewer steps than {unit} to a training error of {TARGET:.0%}.",
                f"Steps by seed: {by_seed(steps)} for {unit}, {by_seed(relu)} for ReLUs.",
                verdict(1.0 * (steps > relu) - (steps < relu)),
            )
            for unit, steps in (("tanh units", tanh), ("sigmoid units", sigmoid))
        ),
        compare("Response normalisation raises the validation accuracy.", full, no_norm),
        compare("The norm helps more than smaller weights do.", full, small, word="with those"),
        compare("Dropout raises the validation accuracy.", full, no_dropout),
        compare("Dropout narrows the gap between training and validation.", *gaps, sign=-1),
    ]


def draw(numbers: Mapping[str, np.ndarray]) -> dict[str, Figure]:
    """Draw the numbers."""
    errors = {f"{u}, rate {numbers[f'rate/{u}']}": numbers[f"error/{u}"] for u in UNITS}
    axes, title = ("step", "training error"), "ReLU and tanh train, sigmoids hardly"
    units = teaching.chart(title, numbers["steps"], errors, axes)
    units.axes[0].axhline(TARGET, color="black", linewidth=1)
    steps, axes = numbers["part_steps"], ("step", "accuracy")
    curves = {f"{n}, {kind}": numbers[f"{kind}/{n}"] for n in DROPOUT for kind in KINDS}
    dropout = teaching.chart("Dropout reduces overfitting", steps, curves, axes)
    title = "Response normalisation only rescales, and smaller weights do more"
    norm, (left, right) = teaching.panels(title, ["AlexNet", "one value"])
    teaching.lines(left, steps, {n: numbers[f"validation/{n}"] for n in [*NETWORKS][:3]})
    teaching.label(left, "step", "validation accuracy")
    curves = dict(zip(("others 0", "others equal"), numbers["normalized"], strict=True))
    teaching.lines(right, numbers["values"], curves)
    right.set(xscale="log", yscale="log")
    right.axhspan(0.01, numbers["largest"], alpha=0.1)
    teaching.label(right, "value before", "value after")
    return {"units": units, "dropout": dropout, "response_norm": norm}
