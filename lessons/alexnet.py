"""AlexNet brought ReLUs, which do not saturate, and dropout, which reduces overfitting.

Follows Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural
Networks" (NeurIPS 2012): figure 1 (steps to a training error of 25 %, four layers on CIFAR-10),
section 3.3 (local response normalisation) and section 4.2 (dropout). Here the images are drawn
flowers, sigmoids compete too, and AlexNet is narrow and reads 64 pixels.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import numpy as np
from matplotlib.figure import Figure

from netzoo import teaching
from netzoo.layers import Conv, Dense, local_response_norm, max_pool
from netzoo.models.alexnet import TWO_GPUS, AlexNet
from netzoo.models.blocks import zero_bias
from netzoo.teaching import Claim, Numbers, Setting, verdict

UNITS = ("relu", "tanh", "sigmoid")
TARGET = 0.25  # training error, as in figure 1
# Whether there is response normalisation, and the rate of dropout.
NETWORKS = {"AlexNet": (True, 0.5), "no norm": (False, 0.5), "no dropout": (True, 0.0)}


class FourLayers(nn.Module):
    """Three convolutions with overlapping pools, and a dense layer."""

    num_classes: int
    unit: str
    channels: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map images `[batch, H, W, 3]` to logits `[batch, num_classes]`."""
        init = nn.initializers.lecun_normal()
        for channels in self.channels:
            x = Conv(channels, 5, use_bias=True, kernel_init=init)(x)
            x = max_pool(getattr(nn, self.unit)(x), 3, 2, padding=0)
        return Dense(self.num_classes)(x.reshape(len(x), -1))


def measure(setting: Setting) -> Numbers:
    """Train the units, each at its best learning rate, and AlexNet with and without two parts."""
    seeds, values = range(setting.choose(3, 1)), np.geomspace(0.1, 1000, 50)
    alone, equal = values[:, None] * np.eye(5)[2], values[:, None] * np.ones(5)  # five channels
    middle = np.array([local_response_norm(x)[:, 2] for x in (alone, equal)])
    numbers: Numbers = {"values": values, "normalized": middle}
    return numbers | measure_units(setting, seeds) | measure_parts(setting, seeds)


def measure_units(setting: Setting, seeds: range) -> Numbers:
    """Return the training errors of each unit, `[seeds, times]`, at its best learning rate."""
    pictures, steps = setting.pictures(setting.choose(32, 16)), setting.choose(300, 5)
    rates, numbers = setting.choose((0.003, 0.01, 0.03, 0.1), (0.01,)), {}
    for unit in UNITS:
        model = FourLayers(pictures.num_classes, unit, setting.choose((16, 16, 32), (4,)))
        watch = teaching.evaluator(model, pictures.train[:480], pictures.train_labels[:480])
        options = {"steps": steps, "augment": False, "watch": watch, "watch_every": 15}

        def train(rate, seed, model=model, options=options):
            optimizer = teaching.sgd(rate)
            return teaching.fit(model, pictures, optimizer=optimizer, seed=seed, **options)

        runs = {rate: train(rate, 0) for rate in rates}
        best = max(rates, key=lambda rate: runs[rate].watched["accuracy"].mean())
        runs = [runs[best], *(train(best, seed) for seed in seeds[1:])]
        errors = np.array([1 - run.watched["accuracy"] for run in runs])
        numbers |= {f"error/{unit}": errors, f"rate/{unit}": best, "steps": runs[0].watched_steps}
    return numbers


def measure_parts(setting: Setting, seeds: range) -> Numbers:
    """Return accuracies of AlexNet on images of training and validation, `[seeds, times]`."""
    pictures, steps = setting.pictures(64, setting.choose(640, 32)), setting.choose(300, 0)
    init = {"kernel_init": nn.initializers.he_normal(), "bias_init": zero_bias}
    numbers = {}
    for name, (response_norm, dropout) in NETWORKS.items():
        channels = setting.choose((16, 32, 32, 32, 32), (4, 4, 4, 4, 4))
        small = TWO_GPUS._replace(channels=channels, response_norm=response_norm, **init)
        model = AlexNet(small, pictures.num_classes, setting.choose(256, 8), dropout)
        scores = [teaching.evaluator(model, *pictures[i : i + 2]) for i in (0, 2)]

        def watch(variables, scores=scores):
            found = (score(variables)["accuracy"] for score in scores)
            return dict(zip(("train", "validation"), found, strict=True))

        options = {"steps": steps, "augment": False, "watch": watch, "watch_every": 30}
        runs = [teaching.fit(model, pictures, seed=seed, **options) for seed in seeds]
        for kind in ("train", "validation"):
            numbers[f"{kind}/{name}"] = np.array([run.watched[kind] for run in runs])
        numbers["part_steps"] = runs[0].watched_steps
        if name == "AlexNet":
            largest = teaching.endpoint_percentiles(model, pictures.validation[:64], (99,))
            numbers["largest"] = largest(runs[0].variables)["stem/99"]
    return numbers


def claims(numbers: Mapping[str, np.ndarray]) -> list[Claim]:
    """Judge the numbers."""
    reached = [numbers[f"error/{unit}"] <= TARGET for unit in UNITS]
    relu, tanh, sigmoid = (
        np.where(r.any(1), numbers["steps"][r.argmax(1)], np.inf) for r in reached
    )
    full, no_norm, no_dropout = (numbers[f"validation/{name}"][:, -1] for name in NETWORKS)
    trained = [numbers[f"train/{name}"][:, -1] for name in ("AlexNet", "no dropout")]
    gaps = trained[0] - full, trained[1] - no_dropout

    def compare(claim, with_it, without, sign=1):
        measured = f"{with_it.mean():.1%} with it, {without.mean():.1%} without."
        return Claim(claim, measured, verdict(sign * (with_it - without)))

    return [
        *(
            Claim(
                f"{unit} need more steps than ReLUs to a training error of {TARGET:.0%}.",
                f"Steps by seed: {steps} for {unit}, {relu} for ReLUs.",
                verdict(1.0 * (steps > relu) - (steps < relu)),
            )
            for unit, steps in (("Tanh units", tanh), ("Sigmoid units", sigmoid))
        ),
        compare("Response normalisation raises the validation accuracy.", full, no_norm),
        compare("Dropout raises the validation accuracy.", full, no_dropout),
        compare("Dropout narrows the gap of the accuracies of training and validation.", *gaps, -1),
    ]


def draw(numbers: Mapping[str, np.ndarray]) -> dict[str, Figure]:
    """Draw the numbers."""
    errors = {f"{u}, rate {numbers[f'rate/{u}']}": numbers[f"error/{u}"] for u in UNITS}
    axes, title = ("step", "training error"), "ReLU and tanh train, sigmoids hardly"
    units = teaching.chart(title, numbers["steps"], errors, axes)
    units.axes[0].axhline(TARGET, color="black", linewidth=1)
    names = {"AlexNet": "dropout", "no dropout": "no dropout"}
    kinds, steps, axes = ("train", "validation"), numbers["part_steps"], ("step", "accuracy")
    curves = {f"{text}: {k}": numbers[f"{k}/{name}"] for name, text in names.items() for k in kinds}
    dropout = teaching.chart("Dropout holds back overfitting", steps, curves, axes)
    title = "Response normalisation helps, though it only rescales here"
    norm, (left, right) = teaching.panels(title, ["AlexNet", "one value"])
    curves = {"with": numbers["validation/AlexNet"], "without": numbers["validation/no norm"]}
    teaching.lines(left, steps, curves)
    teaching.label(left, "step", "validation accuracy")
    curves = dict(zip(("others 0", "others equal"), numbers["normalized"], strict=True))
    teaching.lines(right, numbers["values"], curves)
    right.set(xscale="log", yscale="log")
    right.axhspan(0.01, numbers["largest"], alpha=0.1)
    teaching.label(right, "value before", "value after")
    return {"units": units, "dropout": dropout, "response_norm": norm}
