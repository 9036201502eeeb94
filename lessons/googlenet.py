"""GoogLeNet: 1x1 convolutions and average pooling save weights, and heads send gradients back.

Follows Szegedy et al. (arXiv:1409.4842), sections 4 and 5, and Lin et al. (arXiv:1312.4400),
section 3.2 and table 5. The images have 32 pixels, and most trainings use a smaller network.
"""

import flax.linen as nn
import jax
import numpy as np
import optax
from matplotlib.figure import Figure

from netzoo import teaching
from netzoo.layers import BatchNorm, Conv, Dropout, global_avg_pool, max_pool
from netzoo.models import create_model
from netzoo.models.googlenet import STAGES
from netzoo.models.summary import model_summary
from netzoo.teaching import Claim, Numbers, bars, label, lines, panels, verdict

SIDES = {3: 28, 4: 14, 5: 7}  # pixels of a stage's feature maps, for images of 224 pixels
MODULES = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
PARTS = ("stem", *(f"stage{s}_block{b}" for s in STAGES for b in range(1, len(STAGES[s]) + 1)))
HEADS = {"with heads": 0.3, "without heads": 0.0}  # the weight of the auxiliary losses
ENDS = {"average pooling": (0, 0.0), "dense": (256, 0.0), "dense, dropout": (256, 0.5)}


class SmallNetwork(nn.Module):
    """Three convolutions with BatchNorm, and then average pooling or a dense layer."""

    num_classes: int
    hidden: int  # width of the dense layer; 0 for average pooling
    dropout_rate: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map images `[batch, 32, 32, 3]` to logits `[batch, num_classes]`."""
        for channels in (16, 32, 64):
            x = max_pool(nn.relu(BatchNorm()(Conv(channels, 3)(x), train=train)), 2, 2, padding=0)
        if not self.hidden:
            return nn.Dense(self.num_classes)(global_avg_pool(x))
        x = nn.relu(nn.Dense(self.hidden)(x.reshape(len(x), -1)))
        return nn.Dense(self.num_classes)(Dropout(self.dropout_rate)(x, train=train))


def costs(*, reduced: bool) -> np.ndarray:
    """Return the millions of weights and multiply-adds of the modules, `[2, modules]`."""
    inputs, found = 192, []
    for stage, blocks in STAGES.items():
        for w in blocks:
            to3, to5 = (w.reduce2, w.reduce3) if reduced else (inputs, inputs)
            weights = inputs * (w.branch1 + w.branch4) + 9 * to3 * w.branch2 + 25 * to5 * w.branch3
            weights += inputs * (to3 + to5) if reduced else 0
            found.append((weights / 1e6, weights * SIDES[stage] ** 2 / 1e6))
            inputs = w.branch1 + w.branch2 + w.branch3 + w.branch4
    return np.array(found).T


def measure(setting: teaching.Setting) -> Numbers:
    """Count weights and multiply-adds; the full form also trains."""
    numbers = {"costs/with": costs(reduced=True), "costs/without": costs(reduced=False)}
    few = setting.pictures(32, train=400)
    for name, options in ENDS.items():
        model = SmallNetwork(few.num_classes, *options)
        numbers[f"weights/{name}"] = np.array(model_summary(model, 32).parameters / 1e3)
        if not setting.quick:
            seen = teaching.evaluator(model, few.train, few.train_labels)
            new = teaching.evaluator(model, few.validation, few.validation_labels)
            fits = [teaching.fit(model, few, steps=200, seed=s, augment=False) for s in range(3)]
            found = [[score(f.variables)["accuracy"] for f in fits] for score in (seen, new)]
            numbers[f"accuracy/{name}"] = np.array(found)
    return numbers if setting.quick else numbers | heads(setting.pictures(32))


def heads(pictures: teaching.Pictures) -> Numbers:
    """Return the gradients of the parts before the first step, and the losses of trainings."""
    model = create_model("googlenet", num_classes=pictures.num_classes)
    entropy = optax.softmax_cross_entropy_with_integer_labels

    def loss(variables: dict, batch: tuple, key: jax.Array) -> tuple[jax.Array, dict]:
        (images, labels), weight = batch
        options = {"train": True, "mutable": ["auxiliary"], "rngs": {"dropout": key}}
        logits, state = model.apply(variables, teaching.normalize(images), **options)
        early = sum(entropy(head, labels).mean() for head in state["auxiliary"].values())
        return entropy(logits, labels).mean() + weight * early, {}

    @jax.jit
    def norms(variables: dict, batch: tuple) -> list[jax.Array]:
        gradients = jax.grad(lambda v: loss(v, batch, jax.random.key(0))[0])(variables)["params"]
        return [optax.tree.norm(gradients[part]) for part in PARTS]

    watch = teaching.evaluator(model, pictures.train[:400], pictures.train_labels[:400])
    numbers: Numbers = {}
    for name, weight in HEADS.items():
        gradients, losses = [], []
        for seed in range(2):
            variables = teaching.initial_variables(model, pictures.train, seed)
            drawn = ((batch, weight) for batch in teaching.batches(pictures, seed=seed))
            gradients.append(norms(variables, next(drawn)))
            options = {"steps": 150, "seed": seed, "watch": watch, "watch_every": 15}
            losses.append(teaching.fit_loss(loss, variables, drawn, **options).watched["loss"])
        numbers |= {f"gradients/{name}": np.array(gradients), f"loss/{name}": np.array(losses)}
    return numbers


def claims(numbers: Numbers) -> list[Claim]:
    """Judge the numbers."""
    reduced, full = numbers["costs/with"].sum(1), numbers["costs/without"].sum(1)
    said = "{:.0%} of the weights and {:.0%} of the multiply-adds.".format(*(1 - reduced / full))
    found = [Claim("1x1 reductions save most of the cost.", said, verdict(full - 2 * reduced))]
    few, many = numbers["weights/average pooling"], numbers["weights/dense"]
    said = f"{few:.0f} thousand weights instead of {many:.0f} thousand."
    found.append(Claim("Average pooling saves most weights.", said, verdict(many - 2 * few)))
    if "loss/with heads" not in numbers:
        return found
    right = {name: numbers[f"accuracy/{name}"] for name in ENDS}
    average, dense = right["average pooling"], right["dense"]
    said = "; ".join(f"{name} {np.subtract(*r).mean():.1%}" for name, r in right.items())
    less = verdict(np.subtract(*dense) - np.subtract(*average))
    found.append(Claim("Average pooling overfits less.", f"Gaps: {said}.", less))
    said = "; ".join(f"{name} {r[1].mean():.1%}" for name, r in right.items())
    found.append(Claim("Average pooling is more accurate.", said, verdict(average[1] - dense[1])))
    norms, losses = ([numbers[f"{key}/{name}"] for name in HEADS] for key in ("gradients", "loss"))
    ratio = norms[0] / norms[1]
    said = f"{ratio[:, 0].mean():.1f} times in the stem, {ratio[:, -1].mean():.1f} times in 5b."
    found.append(Claim("Heads increase early gradients.", said, verdict(ratio[:, 0] - 1)))
    fast, slow = losses[0][:, -1], losses[1][:, -1]
    said = f"Loss {fast.mean():.2f} instead of {slow.mean():.2f} after 150 steps."
    return [*found, Claim("Heads speed up training.", said, verdict(slow - fast))]


def draw(numbers: Numbers) -> dict[str, Figure]:
    """Draw the costs, and the trainings of the full form."""
    saved, grid = panels("1x1 reductions save most of the cost", ["weights", "multiply-adds"])
    for row, axes in enumerate(grid):
        kinds = {kind: numbers[f"costs/{kind}"][row] for kind in ("without", "with")}
        lines(axes, np.array(MODULES), kinds, marker="o")
        label(axes, "Inception module", "millions")
    if "loss/with heads" not in numbers:
        return {"reductions": saved}
    names = ["weights (thousands)", "accuracy on training images", "on new images"]
    ends, grid = panels("Average pooling saves weights and overfits less", names)
    bars(grid[0], {name: numbers[f"weights/{name}"] for name in ENDS}, 0)
    for row, axes in enumerate(grid[1:]):
        bars(axes, {name: numbers[f"accuracy/{name}"][row] for name in ENDS})
    early, grid = panels("Heads increase the gradients before them", ["at the start", "training"])
    lines(grid[0], np.array(["stem", *MODULES]), {n: numbers[f"gradients/{n}"] for n in HEADS})
    label(grid[0], "part", "norm of the gradient")
    lines(grid[1], np.arange(0, 151, 15), {name: numbers[f"loss/{name}"] for name in HEADS})
    label(grid[1], "step", "training loss")
    return {"reductions": saved, "heads": early, "pooling": ends}
