"""Networks for evaluation, with every BatchNorm folded into the convolution before it.

In evaluation BatchNorm multiplies every channel by one number and adds another. The factor goes
into the convolution's kernel and what is added stays, as the norm's bias:

    model, variables = netzoo.fold_batch_norm(model, variables)
    logits = model.apply(variables, images, train=False)
"""

from typing import Any, NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from chex import ArrayTree

from netzoo.errors import UserError
from netzoo.layers import BatchNorm, Conv

Path = tuple[str, ...]

# Side of the images that a network is traced with; all take it, and no convolution depends on it.
TRACED_IMAGE_SIZE = 224
# How many of the variables that do not fit an error shows; the rest is counted.
SHOWN = 8


class Folded(nn.Module):
    """A network whose folded norms only add their bias.

    Its variables are those that `fold_batch_norm` returns, under the network's own paths.

    Attributes:
      network: As it was trained.
    """

    network: nn.Module

    def setup(self) -> None:
        """Leaves the network's variables where they are."""
        nn.share_scope(self, self.network)

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images to what the network maps them to.

        Raises:
          UserError: `train` is True.
        """
        if train:
            raise UserError(
                "a network with folded BatchNorm has no statistics to train with; train the one "
                "that was given to fold_batch_norm"
            )
        with nn.intercept_methods(_only_add_bias):
            return self.network(images, train=False)


def fold_batch_norm(model: nn.Module, variables: ArrayTree) -> tuple[nn.Module, ArrayTree]:
    """Folds every BatchNorm that follows a convolution into it, for evaluation.

    With `factor = scale / sqrt(var + epsilon)` the convolution's kernel and bias are multiplied by
    `factor`, and the norm's `bias - mean * factor` is all that is left of it. Which convolution a
    norm follows is seen in the data that flow, not in names: its input is the convolution's output.
    Nothing else may use that output; in the zoo nothing does. Any other BatchNorm stays.

    Args:
      model: A network of the zoo.
      variables: What its `apply` takes.

    Returns:
      A module for evaluation and its variables, NumPy arrays where they changed. A network without
      `batch_stats`, such as ViT, VGG without BatchNorm or a folded one, is returned as it was
      given.

    Raises:
      UserError: There are `batch_stats`, and the variables are not the model's.
    """
    if "batch_stats" not in variables:
        return model, variables
    shapes, pairs = _trace(model)
    _check_fit(model, variables, shapes)
    flat = flax.traverse_util.flatten_dict(variables)
    for pair in pairs:
        _fold(flat, pair)
    return Folded(model), flax.traverse_util.unflatten_dict(flat)


class _Pair(NamedTuple):
    """A BatchNorm and the convolution whose output it normalises, by their module paths."""

    conv: Path
    norm: Path
    epsilon: float


def _fold(flat: dict[Path, Any], pair: _Pair) -> None:
    """Folds one pair in place, in float64 and rounded once."""

    def change(path: Path, function) -> None:
        old = np.asarray(flat[path])
        flat[path] = function(old.astype(np.float64)).astype(old.dtype)

    scale, mean, var = (
        np.asarray(flat.pop((collection, *pair.norm, name)), np.float64)
        for collection, name in (
            ("params", "scale"),
            ("batch_stats", "mean"),
            ("batch_stats", "var"),
        )
    )
    factor = scale / np.sqrt(var + pair.epsilon)
    for name in ("kernel", "bias"):
        path = ("params", *pair.conv, name)
        if path in flat:
            change(path, lambda leaf: leaf * factor)  # the last axis is that of the features
    change(("params", *pair.norm, "bias"), lambda bias: bias - mean * factor)


def _only_add_bias(next_call, args, kwargs, context):
    norm = context.module
    if type(norm) is not BatchNorm or norm.has_variable("params", "scale"):
        return next_call(*args, **kwargs)
    return (args[0] + norm.get_variable("params", "bias")).astype(norm.dtype)


def _trace(model: nn.Module) -> tuple[ArrayTree, list[_Pair]]:
    """Returns the shapes of a network's variables, and its pairs, without computing anything.

    `init` is traced, since it visits auxiliary classifiers too.
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
            pairs.append(_Pair(outputs[id(args[0])][0], module.path, module.epsilon))
        return result

    images = jax.ShapeDtypeStruct((1, TRACED_IMAGE_SIZE, TRACED_IMAGE_SIZE, 3), jnp.float32)
    with nn.intercept_methods(note):
        shapes = jax.eval_shape(
            lambda key, x: model.init(key, x, train=False), jax.random.key(0), images
        )
    return shapes, pairs


def _check_fit(model: nn.Module, variables: ArrayTree, shapes: ArrayTree) -> None:
    expected, found = (
        {name: leaf.shape for name, leaf in flax.traverse_util.flatten_dict(tree, sep="/").items()}
        for tree in (shapes, variables)
    )
    wrong = [name for name in expected | found if expected.get(name) != found.get(name)]
    if not wrong:
        return
    lines = [
        f"  {name}: expected {expected.get(name, 'nothing')}, found {found.get(name, 'nothing')}"
        for name in wrong[:SHOWN]
    ]
    lines += [f"  and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
    raise UserError(
        f"these variables are not those of this {type(model).__name__}:\n"
        + "\n".join(lines)
        + "\nMake the model with the name and options that the variables belong to."
    )
