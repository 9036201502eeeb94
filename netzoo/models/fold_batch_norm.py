"""Networks for evaluation, with every BatchNorm folded into the convolution before it.

In evaluation BatchNorm multiplies every channel by one number and adds another. The factor goes
into the convolution's kernel and what is added stays, as the norm's bias:

    model, variables = netzoo.fold_batch_norm(model, variables)
    logits = model.apply(variables, images, train=False)
"""

from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import numpy as np
from chex import ArrayTree

from netzoo.errors import UserError
from netzoo.layers import BatchNorm, Conv
from netzoo.models.summary import variable_shapes

Path = tuple[str, ...]

# Variables that an error lists; it counts the others.
SHOWN = 8


class Folded(nn.Module):
    """A network whose folded norms only add their bias.

    Its variables are those that `fold_batch_norm` returns, under the network's own paths.
    """

    network: nn.Module  # as it was trained

    def setup(self) -> None:
        """Leaves the network's variables where they are."""
        nn.share_scope(self, self.network)

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images to what the network maps them to; refuses `train=True`."""
        if train:
            raise UserError(
                "a network with folded BatchNorm has no statistics to train with; train the one "
                "that was given to fold_batch_norm"
            )
        with nn.intercept_methods(_only_add_bias):
            return self.network(images, train=False)


def fold_batch_norm(
    model: nn.Module, variables: ArrayTree, image_size: int = 224
) -> tuple[nn.Module, ArrayTree]:
    """Folds every BatchNorm that follows a convolution into it, for evaluation.

    With `factor = scale / sqrt(var + epsilon)` the convolution's kernel and bias are multiplied by
    `factor`, and the norm's `bias - mean * factor` is all that is left of it. Which convolution a
    norm follows is seen in the data that flow, not in names: its input is the convolution's output.
    Nothing else may use that output; in the zoo nothing does. Any other BatchNorm stays. Only a
    network whose parameters depend on the size of the images needs `image_size`, in pixels.

    Returns:
      A module for evaluation and its variables, NumPy arrays where they changed. A network without
      `batch_stats`, such as ViT, VGG without BatchNorm or a folded one, is returned as it was
      given.

    Raises:
      UserError: There are `batch_stats`, and the variables are not the model's.
    """
    if "batch_stats" not in variables:
        return model, variables
    shapes, pairs = _trace(model, image_size)
    _check_fit(model, variables, shapes)
    flat = flax.traverse_util.flatten_dict(variables)
    for conv, norm, epsilon in pairs:
        _fold(flat, conv, norm, epsilon)
    return Folded(model), flax.traverse_util.unflatten_dict(flat)


def _fold(flat: dict[Path, Any], conv: Path, norm: Path, epsilon: float) -> None:
    """Folds a norm into the convolution before it, in place, in float64 and rounded once."""

    def take(collection: str, name: str) -> np.ndarray:
        return np.asarray(flat.pop((collection, *norm, name)), np.float64)

    def change(path: Path, function) -> None:
        if path in flat:
            old = np.asarray(flat[path])
            flat[path] = function(old.astype(np.float64)).astype(old.dtype)

    mean = take("batch_stats", "mean")
    factor = take("params", "scale") / np.sqrt(take("batch_stats", "var") + epsilon)
    for name in ("kernel", "bias"):  # the last axis of both is that of the features
        change(("params", *conv, name), lambda leaf: leaf * factor)
    change(("params", *norm, "bias"), lambda bias: bias - mean * factor)


def _only_add_bias(next_call, args, kwargs, context):
    norm = context.module
    if type(norm) is not BatchNorm or norm.has_variable("params", "scale"):
        return next_call(*args, **kwargs)
    return (args[0] + norm.get_variable("params", "bias")).astype(norm.dtype)


def _trace(model: nn.Module, image_size: int) -> tuple[ArrayTree, list[tuple[Path, Path, float]]]:
    """Traces `init`, which visits auxiliary classifiers too, without computing anything.

    Returns:
      The shapes of the variables; and for every BatchNorm that follows a convolution the path of
      the convolution, that of the norm, and the norm's epsilon.
    """
    # The outputs are kept beside the paths, since another object may get the `id` of a dead one.
    outputs: dict[int, tuple[Path, jax.Array]] = {}
    pairs = []

    def note(next_call, args, kwargs, context):
        result = next_call(*args, **kwargs)
        module = context.module
        if type(module) is Conv and context.method_name == "__call__":
            outputs[id(result)] = module.path, result
        elif type(module) is BatchNorm and id(args[0]) in outputs:
            pairs.append((outputs[id(args[0])][0], module.path, module.epsilon))
        return result

    with nn.intercept_methods(note):
        return variable_shapes(model, image_size), pairs


def _check_fit(model: nn.Module, variables: ArrayTree, shapes: ArrayTree) -> None:
    expected, got = (
        {name: leaf.shape for name, leaf in flax.traverse_util.flatten_dict(tree, sep="/").items()}
        for tree in (shapes, variables)
    )
    wrong = [
        f"  {name}: expected {expected.get(name, 'nothing')}, got {got.get(name, 'nothing')}"
        for name in expected | got
        if expected.get(name) != got.get(name)
    ]
    if wrong:
        more = [f"  and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
        first = f"these variables are not those of this {type(model).__name__}:"
        remedy = "Make the model with the name and options that the variables belong to."
        raise UserError("\n".join([first, *wrong[:SHOWN], *more, remedy]))
