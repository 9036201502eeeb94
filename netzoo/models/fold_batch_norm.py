"""Folds every BatchNorm into the preceding convolution, for evaluation.

In evaluation, BatchNorm multiplies every channel by a factor and adds an offset. Folding multiplies
the convolution by the factor and keeps the offset as the norm's bias:

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
from netzoo.models.summary import check_variables, variable_shapes

Path = tuple[str, ...]


class Folded(nn.Module):
    """A network whose folded norms only add a bias.

    `fold_batch_norm` also returns the variables of this module, which have the network's paths.
    """

    network: nn.Module  # the trained network

    def setup(self) -> None:
        """Keep the paths of the network's variables."""
        nn.share_scope(self, self.network)

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Apply the network to images; raise a UserError if `train`."""
        if train:
            raise UserError(
                "a network with folded BatchNorm has no statistics to train; train the original "
                "network"
            )
        with nn.intercept_methods(_only_add_bias):
            return self.network(images, train=False)


def fold_batch_norm(
    model: nn.Module, variables: ArrayTree, image_size: int = 224
) -> tuple[nn.Module, ArrayTree]:
    """Fold every BatchNorm that follows a convolution into the convolution, for evaluation.

    With `factor = scale / sqrt(var + epsilon)`, the convolution's kernel and bias are multiplied by
    `factor`, and the norm only adds `bias - mean * factor`. A norm follows a convolution if its
    input is the convolution's output, whatever the names. Nothing else may use that output; this
    holds for all networks of netzoo. Any other BatchNorm stays. Only networks whose parameters
    depend on the image size need `image_size`, in pixels.

    Returns:
      A module for evaluation and its variables; changed variables are NumPy arrays. A network
      without `batch_stats`, such as ViT, VGG without BatchNorm or a folded network, is returned
      unchanged.

    Raises:
      UserError: The variables include `batch_stats` and do not belong to the model.
    """
    if "batch_stats" not in variables:
        return model, variables
    shapes, pairs = _trace(model, image_size)
    check_variables(model, variables, shapes)
    flat = flax.traverse_util.flatten_dict(variables)
    for conv, norm, epsilon in pairs:
        _fold(flat, conv, norm, epsilon)
    return Folded(model), flax.traverse_util.unflatten_dict(flat)


def _fold(flat: dict[Path, Any], conv: Path, norm: Path, epsilon: float) -> None:
    """Fold a norm into the preceding convolution in place, computing in float64."""

    def take(collection: str, name: str) -> np.ndarray:
        return np.asarray(flat.pop((collection, *norm, name)), np.float64)

    def change(path: Path, function) -> None:
        if path in flat:
            old = np.asarray(flat[path])
            flat[path] = function(old.astype(np.float64)).astype(old.dtype)

    mean = take("batch_stats", "mean")
    factor = take("params", "scale") / np.sqrt(take("batch_stats", "var") + epsilon)
    for name in ("kernel", "bias"):  # the features are the last axis of both
        change(("params", *conv, name), lambda leaf: leaf * factor)
    change(("params", *norm, "bias"), lambda bias: bias - mean * factor)


def _only_add_bias(next_call, args, kwargs, context):
    norm = context.module
    if type(norm) is not BatchNorm or norm.has_variable("params", "scale"):
        return next_call(*args, **kwargs)
    return (args[0] + norm.get_variable("params", "bias")).astype(norm.dtype)


def _trace(model: nn.Module, image_size: int) -> tuple[ArrayTree, list[tuple[Path, Path, float]]]:
    """Trace `init`, which also calls auxiliary classifiers, without computing anything.

    Returns:
      The shapes of the variables; and for every BatchNorm that follows a convolution, the paths of
      the convolution and of the norm, and the norm's epsilon.
    """
    # Keep the outputs alive, because Python reuses the `id` of a deleted object.
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
