"""MobileNetV3: gates weigh channels by the image, and hard-swish is swish without an exponential.

Follows Howard et al. (arXiv:1905.02244), figure 6 for hard-swish and section 6 for latency, and Hu
et al. (arXiv:1709.01507), the figure of gates by class in "Role of Excitation". Here, half of the
channels of MobileNetV3-Small train for seconds on photographs. The phone is a CPU.
"""

import functools
from collections.abc import Mapping

import flax.linen as nn
import jax
import numpy as np
from matplotlib.figure import Figure

from netzoo import create_model, teaching
from netzoo.models.mobilenet_v3 import HS, SMALL, MobileNetV3
from netzoo.models.summary import model_summary
from netzoo.teaching import COLORS, Claim, Numbers, Setting, bars, label, lines, panels, verdict

SOURCE = "tfds:tf_flowers"
ACTIVATIONS = {"hard-swish": HS, "swish": nn.swish, "ReLU6": nn.relu6}
# A network, and the last layer of each part. The blocks of a part see images of the same size.
PARTS = ("112 px", "56 px", "28 px", "14 px", "7 px", "head")
COMMON = ("stage1/block1", "stage2/block2", "stage3/block3")
NETWORKS = {
    "V2": ("mobilenet_v2", *COMMON, "stage5/block3", "stage7/block1", "logits"),
    "V3-Large": ("mobilenet_v3_large", *COMMON, "stage5/block2", "stage6/block3", "logits"),
}


def measure(setting: Setting) -> Numbers:
    """Train networks on photographs, look at their gates, and take times."""
    pictures = setting.pictures(setting.choose(64, 32))
    images, labels = pictures.validation, pictures.validation_labels
    inputs = jax.random.normal(jax.random.key(0), (setting.choose(10**6, 10**3),))
    numbers: Numbers = {"x": np.linspace(-6, 6, 121, dtype=np.float32)}
    calls, options = {}, {"steps": setting.choose(300, 15), "optimizer": 3e-3}
    for name, activation in ACTIVATIONS.items():
        calls[name] = functools.partial(jax.jit(activation), inputs)
        numbers[f"value/{name}"] = np.asarray(activation(numbers["x"]))
        stages = [s._replace(activation=activation) if s.activation is HS else s for s in SMALL[0]]
        if setting.quick:
            stages = [stages[0], stages[2]._replace(expansions=(4,))]
        variant = SMALL._replace(stages=tuple(stages))
        model = MobileNetV3(num_classes=5, variant=variant, width_multiplier=0.5)
        evaluate, accuracies, shares = teaching.evaluator(model, images, labels), [], []
        for seed in range(setting.choose(3, 1)):
            options |= {"seed": seed, "description": f"{name}, seed {seed}"}
            variables = teaching.fit(model, pictures, **options).variables
            accuracies.append(100 * evaluate(variables)["accuracy"])
            if activation is HS:
                gates = teaching.squeeze_excite_gates(model, variables, images)
                shares.append([100 * teaching.class_share(gate, labels) for gate in gates.values()])
                for block, gate in gates.items():  # those of the last seed are drawn
                    means = [gate[labels == number].mean(0) for number in range(5)]
                    numbers[f"gate/{block}"], numbers["share"] = np.array(means), np.array(shares)
        numbers[f"accuracy/{name}"] = np.array(accuracies)
    numbers["class"] = np.array(pictures.class_names)
    times = teaching.interleaved_times(calls, setting.choose(50, 3))
    numbers |= {f"time/{name}": values for name, values in times.items()}
    return numbers if setting.quick else numbers | latency()


def latency() -> Numbers:
    """Return milliseconds `[rounds, parts]` and multiply-adds of one image of 224 pixels."""
    numbers, calls, images = {}, {}, np.zeros((1, 224, 224, 3), np.float32)
    for name, (network, *ends) in NETWORKS.items():
        model = create_model(network)
        variables = teaching.initial_variables(model, images.astype(np.uint8))
        programs = teaching.programs_until(model, variables, images, ends)
        calls |= {f"{name}/{end}": program for end, program in programs.items()}
        stages = model_summary(model, 224).parts
        names, macs = [stage.name for stage in stages], np.cumsum([stage.macs for stage in stages])
        until = [macs[names.index(end.split("/")[0])] for end in ends]
        numbers[f"macs/{name}"] = np.diff(until, prepend=0) / 1e6
    times = teaching.interleaved_times(calls, 40)
    for name, (_, *ends) in NETWORKS.items():
        until = np.stack([times[f"{name}/{end}"] for end in ends], 1)
        numbers[f"latency/{name}"] = np.diff(until, prepend=0)
    return numbers


def claims(numbers: Mapping[str, np.ndarray]) -> list[Claim]:
    """Judge the numbers."""
    x, half = numbers, numbers["share"].shape[1] // 2
    early, late = x["share"][:, :half].mean(1), x["share"][:, -half:].mean(1)
    near, _, far = (abs(x[f"value/{name}"] - x["value/swish"]).max() for name in ACTIVATIONS)
    hard, swish, relu6 = (x[f"accuracy/{name}"] for name in ACTIVATIONS)
    times = [np.median(x[f"time/{name}"]) for name in ACTIVATIONS]
    rows = [
        ("The gates depend on the class more in late blocks than in early ones.",
         f"It explains {early.mean():.0f} % in the first half, {late.mean():.0f} % in the last.",
         late - early),
        ("Hard-swish is closer to swish than ReLU6 is.",
         f"At most {near:.2f} away; ReLU6 {far:.2f}.", far - near),
        ("Hard-swish is faster than swish.",
         f"{times[0]:.2f} ms for a million values; swish {times[1]:.2f} ms.", times[1] - times[0]),
        ("Hard-swish costs no accuracy: it differs from swish by less than seeds do.",
         f"{hard.mean():.1f} % and {swish.mean():.1f} %; seeds differ by {np.ptp(swish):.1f}.",
         np.ptp(swish) - abs(hard.mean() - swish.mean())),
        ("Hard-swish is more accurate than ReLU6, by more than seeds differ.",
         f"{hard.mean():.1f} % and {relu6.mean():.1f} %; seeds differ by {np.ptp(relu6):.1f}.",
         hard.mean() - relu6.mean() - np.ptp(relu6)),
    ]  # fmt: skip
    if "latency/V2" in numbers:
        times = [x[f"latency/{name}"].sum(1) for name in NETWORKS]
        (old, new), saved = np.median(times, 1), (times[0] - times[1]).reshape(4, -1)
        macs = [x[f"macs/{name}"].sum() for name in NETWORKS]
        text = f"{new:.1f} ms, {macs[1]:.0f} M multiply-adds; V2 {old:.1f} ms, {macs[0]:.0f} M."
        rows.append(("V3-Large is faster than V2.", text, np.median(saved, 1)))
    return [Claim(claim, measured, verdict(differences)) for claim, measured, differences in rows]


def draw(numbers: Mapping[str, np.ndarray]) -> dict[str, Figure]:
    """Draw the numbers."""
    blocks = [name.removeprefix("gate/") for name in numbers if name.startswith("gate/")]
    names = [*(f"gates of {block}" for block in (blocks[0], blocks[-1])), "explained by the class"]
    gate, grid = panels("Gates depend on the class, in early blocks as in late ones", names)
    for axes, block in zip(grid, (blocks[0], blocks[-1]), strict=False):
        means = numbers[f"gate/{block}"]
        chosen = np.linspace(0, means.shape[1] - 1, min(means.shape[1], 16)).astype(int)
        curves = dict(zip(numbers["class"], means[:, chosen], strict=True))
        lines(axes, np.arange(len(chosen)), curves)
        label(axes, "channel", "mean gate", legend=block == blocks[0])
        axes.set_ylim(0, 1)
    lines(grid[2], np.arange(1, 1 + len(blocks)), {"": numbers["share"]}, marker="o")
    label(grid[2], "block with squeeze-excite", "share of variance (%)", legend=False)
    names = "values", "ms for a million values", "validation accuracy (%)"
    swish, [values, times, scores] = panels("Hard-swish: like swish, as cheap as ReLU6", names)
    lines(values, numbers["x"], {name: numbers[f"value/{name}"] for name in ACTIVATIONS})
    label(values, "input", "output")
    bars(times, {name: np.median(numbers[f"time/{name}"]) for name in ACTIVATIONS})
    bars(scores, {name: numbers[f"accuracy/{name}"] for name in ACTIVATIONS}, digits=1)
    drawn = {"gates": gate, "hard_swish": swish}
    if "latency/V2" in numbers:
        drawn["latency"], grid = panels(
            "V3 saves multiply-adds in every part, milliseconds only in some",
            ["milliseconds", "multiply-adds (M)"],
        )
        for place, name in enumerate(NETWORKS):
            values = np.median(numbers[f"latency/{name}"], 0), numbers[f"macs/{name}"]
            for axes, heights in zip(grid, values, strict=True):
                middle = np.arange(len(PARTS)) + 0.4 * place - 0.2
                axes.bar(middle, heights, 0.4, color=COLORS[place], label=name)
                axes.set_xticks(range(len(PARTS)), PARTS)
                label(axes, "blocks by the size of their images", "")
    return drawn
