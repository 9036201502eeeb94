"""Hybrid ViT: convolutions look nearby from the start, and GroupNorm needs no large batches.

Follows figure 5 of Dosovitskiy et al., "An Image is Worth 16x16 Words" (arXiv:2010.11929), where
hybrids are ahead of ViTs for a small budget of computation, and figure 1 of Wu and He, "Group
Normalization" (arXiv:1803.08494). The ResNet of a hybrid has GroupNorm and standardised kernels
(Qiao et al., arXiv:1903.10520), as in Big Transfer (Kolesnikov et al., arXiv:1912.11370). Here,
small networks train on photographs of 32 pixels. Each network trains once with a constant
learning rate, and every epoch of this training is a budget.
"""

import functools
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import numpy as np
import optax
from matplotlib.figure import Figure

from netzoo import teaching
from netzoo.layers import BatchNorm, Conv, Dense, GroupNorm, global_avg_pool
from netzoo.models.blocks import ConvNormAct
from netzoo.models.hybrid_vit import HybridViT, StandardizedConv
from netzoo.models.resnet import ResidualBlock
from netzoo.models.summary import model_summary
from netzoo.models.vit import Variant, ViT
from netzoo.teaching import Claim, Numbers, Setting, label, lines, panels, verdict

SOURCE = "tfds:tf_flowers"
TRANSFORMER = Variant(96, 4, 192, 4, patch=8)
NETWORKS = {  # a token covers 8x8 pixels in both
    "ViT": functools.partial(ViT, TRANSFORMER),
    "hybrid": functools.partial(HybridViT, TRANSFORMER._replace(patch=2), stages=(1,)),
}
NORMS = {
    "BatchNorm": (Conv, BatchNorm),
    "GroupNorm": (Conv, functools.partial(GroupNorm, 8)),
    "GroupNorm, standardised kernels": (StandardizedConv, functools.partial(GroupNorm, 8)),
}
SHORT = 3  # epochs of a short training


class ResNet(nn.Module):
    """Residual blocks of two convolutions each, with any convolution and norm."""

    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    num_classes: int
    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Map images `[batch, height, width, 3]` to logits `[batch, num_classes]`."""
        conv_norm_act = ConvNormAct(self.conv, self.norm, nn.relu)
        block = functools.partial(ResidualBlock, conv_norm_act, bottleneck=None, stride=2)
        x = conv_norm_act(images, 16, 3, stride=2, name="stem", train=train)
        for width in self.widths:
            x = block(features=width, name=f"block{width}")(x, train=train)
        return Dense(self.num_classes, name="logits")(global_avg_pool(x))


def measure(setting: Setting) -> Numbers:
    """Train the ViT and the hybrid by epochs, and the ResNets by batch size."""
    size, widths = setting.choose(32, 16), setting.choose((32, 64), (32,))
    batch_sizes = setting.choose((2, 8, 32), (2,))
    pictures = setting.pictures(size, train=setting.choose(1280, 32))
    seeds, images = range(setting.choose(3, 1)), len(pictures.train)
    limit = setting.choose(None, 20)
    validation = pictures.validation[:limit], pictures.validation_labels[:limit]
    numbers: Numbers = {"batch sizes": np.array(batch_sizes)}
    epoch = images // 32
    options = {"steps": setting.choose(12, SHORT) * epoch, "watch_every": epoch}
    options["optimizer"] = optax.adamw(optax.linear_schedule(0, 1e-3, epoch))
    for name, network in NETWORKS.items():
        model = network(num_classes=pictures.num_classes, dropout_rate=0.0)
        options["watch"] = teaching.evaluator(model, *validation)
        fits = [teaching.fit(model, pictures, seed=seed, **options) for seed in seeds]
        numbers[f"accuracy/{name}"] = np.stack([fit.watched["accuracy"] for fit in fits])
        # A training step takes three times the multiply-adds of a prediction.
        numbers[f"cost/{name}"] = np.array(3 * images * model_summary(model, size).macs)
    for name, (conv, norm) in NORMS.items():
        model = ResNet(conv, norm, pictures.num_classes, widths)
        accuracy, scores = teaching.evaluator(model, *validation), []
        for batch_size in batch_sizes:
            steps = setting.choose(5, 1) * images // batch_size
            sgd = optax.sgd(optax.cosine_decay_schedule(0.1 * batch_size / 32, steps), 0.9)
            options = {"steps": steps, "batch_size": batch_size, "optimizer": sgd}
            fits = [teaching.fit(model, pictures, seed=seed, **options) for seed in seeds]
            scores.append([accuracy(fit.variables)["accuracy"] for fit in fits])
        numbers[name] = np.array(scores).T
    return numbers


def claims(numbers: Mapping[str, np.ndarray]) -> list[Claim]:
    """Judge the numbers."""
    vit, hybrid = (numbers[f"accuracy/{name}"] for name in NETWORKS)
    early, gap = hybrid[:, SHORT], hybrid - vit
    epochs = SHORT * numbers["cost/hybrid"] / numbers["cost/ViT"]  # of the ViT at the same cost
    as_costly = np.array([np.interp(epochs, np.arange(len(curve)), curve) for curve in vit])
    batch, plain, standardised = (numbers[norm] for norm in NORMS)
    fall, steady = batch[:, -1] - batch[:, 0], standardised[:, -1] - standardised[:, 0]
    gain = (standardised - plain).mean(1)
    rows = [
        ("The hybrid is ahead while the training is short.",
         f"After {SHORT} epochs, it is right for {early.mean():.1%}, and the ViT for "
         f"{vit[:, SHORT].mean():.1%}.", gap[:, SHORT]),
        ("The hybrid is ahead also at the same small cost.",
         f"At this cost, after {epochs:.1f} epochs, the ViT is right for {as_costly.mean():.1%}.",
         early - as_costly),
        ("The gap closes with more training.",
         f"After {SHORT} epochs, it is {gap[:, SHORT].mean():+.1%}, and in the mean of the last "
         f"three, {gap[:, -3:].mean():+.1%}.", gap[:, SHORT] - abs(gap[:, -3:].mean(1))),
        ("Small batches harm BatchNorm.",
         f"From batches of 32 to batches of 2, its accuracy falls by {fall.mean():.1%}.", fall),
        ("Small batches harm GroupNorm with standardised kernels less.",
         f"Its accuracy changes by {-steady.mean():+.1%}.", fall - steady),
        ("Standardised kernels help GroupNorm.",
         f"In the mean of the batch sizes, they change the accuracy by {gain.mean():+.1%}.", gain),
    ]  # fmt: skip
    return [Claim(claim, measured, verdict(difference)) for claim, measured, difference in rows]


def draw(numbers: Mapping[str, np.ndarray]) -> dict[str, Figure]:
    """Draw the accuracy by epochs and by cost, and by batch size and norm."""
    budget, axes = panels(
        "The ViT leads early, the hybrid ends ahead", ["by epochs", "by computation"]
    )
    curves = {name: 100 * numbers[f"accuracy/{name}"] for name in NETWORKS}
    epochs = np.arange(curves["ViT"].shape[1])
    lines(axes[0], epochs, curves)
    label(axes[0], "epochs", "accuracy, %")
    costs = {name: numbers[f"cost/{name}"] * epochs / 1e12 for name in NETWORKS}
    grid = np.linspace(0, costs["ViT"][-1], 100)
    for name, curve in curves.items():
        curves[name] = np.stack([np.interp(grid, costs[name], seed) for seed in curve])
    lines(axes[1], grid, curves)
    label(axes[1], "10¹² multiply-adds", "accuracy, %")

    norms, [axes] = panels("Small batches harm only BatchNorm", ["after five epochs"])
    sizes = numbers["batch sizes"]
    lines(axes, np.log2(sizes), {name: 100 * numbers[name] for name in NORMS}, marker="o")
    axes.set_xticks(np.log2(sizes), sizes)
    label(axes, "batch size", "accuracy, %")
    return {"budget": budget, "norms": norms}
