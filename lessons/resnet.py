"""ResNet: a deeper plain network trains worse, and adding the input of each block mends that.

Follows He et al. (arXiv:1512.03385), figures 1 and 4; Li et al. (arXiv:1712.09913) for the loss
around the weights; and Li et al. (arXiv:1801.05134), figure 1, for dropout. The networks have the
form of section 4.2 of the first paper, and train for a minute.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from netzoo import teaching
from netzoo.layers import BatchNorm, Conv, Dropout, global_avg_pool
from netzoo.teaching import Claim, Numbers, Setting, evaluator, label, lines, panels, verdict

KINDS = ("plain", "residual")
DEPTHS = {18: (3, 3, 2), 34: (5, 6, 5), 50: (8, 8, 8)}  # blocks in each stage
QUICK_DEPTHS = {4: (1,), 6: (2,)}
# Dropout rates before the last BatchNorm of each block, and before the logits.
DROPOUT = {"no dropout": (0.0, 0.0), "before BatchNorm": (0.5, 0.0), "at the end": (0.0, 0.5)}


class Network(nn.Module):
    """A plain or residual network: stem, stages of blocks, and logits."""

    num_classes: int
    blocks: tuple[int, ...]  # in each stage
    width: int  # channels of the first stage
    residual: bool = True  # whether each block adds its input
    dropout: tuple[float, float] = (0.0, 0.0)  # see `DROPOUT`

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Map images `[batch, H, W, 3]` to logits `[batch, num_classes]`."""
        x = nn.relu(BatchNorm()(Conv(self.width, 3, stride=2)(images), train=train))
        for stage, blocks in enumerate(self.blocks):
            channels = self.width * 2**stage
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                y = Conv(channels, 3, stride=stride)(x)
                y = Conv(channels, 3)(nn.relu(BatchNorm()(y, train=train)))
                y = BatchNorm()(Dropout(self.dropout[0])(y, train=train), train=train)
                if self.residual:  # the shortcut has no parameters; its new channels are 0
                    x = x[:, ::stride, ::stride]
                    y += jnp.pad(x, [(0, 0)] * 3 + [(0, channels - x.shape[-1])])
                x = nn.relu(y)
        x = Dropout(self.dropout[1])(global_avg_pool(x), train=train)
        return nn.Dense(self.num_classes)(x)


def measure(setting: Setting) -> Numbers:
    """Train plain and residual networks of several depths, and networks with dropout."""
    pictures, width = setting.pictures(setting.choose(32, 16)), setting.choose(16, 4)
    train = pictures.train[:200], pictures.train_labels[:200]
    depths = setting.choose(DEPTHS, QUICK_DEPTHS)
    distances = np.linspace(-1, 1, setting.choose(17, 3))
    numbers: Numbers = {"depth": np.array([*depths]), "distance": distances}
    options = {"steps": setting.choose(160, 12), "optimizer": 2e-3, "watch_every": 20}
    for depth, kind in [(depth, kind) for depth in depths for kind in KINDS]:
        model = Network(pictures.num_classes, depths[depth], width, kind == "residual")
        loss_of, error_of = (evaluator(model, *train, train=mode) for mode in (False, True))
        errors, gradients, losses = [], [], []
        for seed in range(setting.choose(2, 1)):
            start = teaching.initial_variables(model, train[0], seed)
            norms = teaching.gradient_norms(model, start, *train)
            gradients.append([norms[f"Conv_{layer}/kernel"] for layer in range(depth - 1)])
            options |= {"seed": seed, "description": f"{kind}, {depth} layers"}
            fit = teaching.fit(model, pictures, watch=error_of, **options)
            errors.append(100 * (1 - fit.watched["accuracy"]))
            if depth == max(depths):
                away = teaching.random_direction(fit.variables["params"], seed)
                losses.append(teaching.loss_along(loss_of, fit.variables, away, distances))
        numbers[f"error/{kind}/{depth}"], numbers["step"] = np.array(errors), fit.watched_steps
        numbers[f"gradient/{kind}/{depth}"] = np.array(gradients)
        numbers[f"loss/{kind}"] = np.array(losses)  # of the deepest network

    held_out = pictures.validation, pictures.validation_labels
    steady = Network(pictures.num_classes, depths[min(depths)], width)
    scores_of = [evaluator(steady, *held_out, train=x, batch_size=240) for x in (False, True)]
    for name, rates in DROPOUT.items():
        model, ratios, scores = steady.clone(dropout=rates), [], []
        for seed in range(setting.choose(3, 1)):
            options |= {"seed": seed, "description": name}
            variables = teaching.fit(model, pictures, **options).variables
            scores.append([100 * score(variables)["accuracy"] for score in scores_of])
            ratios.append(teaching.variance_ratios(steady, variables, held_out[0][:240]))
        numbers[f"ratio/{name}"] = np.array(ratios)  # variance in evaluation / running variance
        numbers[f"accuracy/{name}"] = np.array(scores)  # by running and by batch variances
    return numbers


def claims(numbers: Mapping[str, np.ndarray]) -> list[Claim]:
    """Judge the numbers."""
    depths = numbers["depth"]
    plain, residual = ([numbers[f"error/{k}/{n}"][:, -1] for n in depths] for k in KINDS)
    text = [", ".join(f"{x.mean():.0f} %" for x in ends) for ends in (plain, residual)]
    first, second = (numbers[f"gradient/{kind}/{depths[-1]}"] for kind in KINDS)
    first, second = first[:, 1] / first[:, -1], second[:, 1] / second[:, -1]
    rise = [np.ptp(numbers[f"loss/{kind}"], axis=1) for kind in KINDS]
    free, found = (numbers[f"ratio/{k}"][:, 2::2].mean(1) for k in [*DROPOUT][:2])
    wrong, right = numbers["accuracy/before BatchNorm"].T
    rows = [
        ("A deeper plain network trains worse: its training error is higher.",
         f"{text[0]} at {', '.join(map(str, depths))} layers.", plain[-1] - plain[0]),
        ("A residual network of the same depth trains better.",
         f"{text[1]} at the same depths.", np.subtract(plain, residual)),
        ("A deeper residual network trains better.", f"{text[1]}.", residual[0] - residual[-1]),
        ("With BatchNorm, the gradients of the deepest plain network do not vanish.",
         f"Those of the first block are {first.mean():.0f} times those of the last.", first - 1),
        ("Shortcuts even out the gradients.", f"The ratio is {second.mean():.1f}.", first - second),
        ("Shortcuts make the loss rise less along a random direction.",
         f"By at most {rise[1].mean():,.0f} instead of {rise[0].mean():,.0f}.", rise[0] - rise[1]),
        ("The BatchNorm behind dropout expects too large a variance.",
         f"It finds {found.mean():.2f} of it ({free.mean():.2f} without dropout).", free - found),
        ("The wrong variance costs accuracy.",
         f"{wrong.mean():.0f} %; {right.mean():.0f} % with that of the images.", right - wrong),
    ]  # fmt: skip
    return [Claim(claim, measured, verdict(differences)) for claim, measured, differences in rows]


def draw(numbers: Mapping[str, np.ndarray]) -> dict[str, Figure]:
    """Draw the numbers."""
    *_, high = depths = numbers["depth"]
    degradation, axes = panels("Deeper plain networks train worse, residual ones hardly do", KINDS)
    for panel, kind in zip(axes, KINDS, strict=True):
        errors = {f"{depth} layers": numbers[f"error/{kind}/{depth}"] for depth in depths}
        lines(panel, numbers["step"], errors)
        label(panel, "step", "training error (%)")
        panel.set_ylim(0, 90)
    names = f"{high} layers before training", f"{high} layers after training"
    inside, [left, right] = panels("Shortcuts even out the gradients and flatten the loss", names)
    lines(left, np.arange(1, high), {kind: numbers[f"gradient/{kind}/{high}"] for kind in KINDS})
    lines(right, numbers["distance"], {kind: numbers[f"loss/{kind}"] for kind in KINDS})
    label(left, "layer", "norm of the gradient")
    label(right, "distance along a random direction", "training loss")
    left.set_yscale("log")
    right.set_yscale("log")
    names = "variance found / expected", "validation accuracy (%)"
    shift, [left, right] = panels("After dropout, BatchNorm finds half its variance or less", names)
    ratios = {name: numbers[f"ratio/{name}"] for name in DROPOUT}
    lines(left, np.arange(1, 1 + ratios["at the end"].shape[1]), ratios, marker="o", linewidth=1.4)
    label(left, "BatchNorm layer", "ratio")
    accuracy = {name: numbers[f"accuracy/{name}"][:, 0] for name in DROPOUT}
    mended = {"before,\ntrue variance": numbers["accuracy/before BatchNorm"][:, 1]}
    teaching.bars(right, accuracy | mended, digits=0)
    return {"degradation": degradation, "inside": inside, "dropout": shift}
