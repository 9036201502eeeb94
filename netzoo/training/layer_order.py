"""The order of a network's layers, and learning rates that fall from layer to layer."""

import re
from typing import NamedTuple

import jax
import numpy as np
from chex import ArrayTree

from netzoo.errors import UserError
from netzoo.training.layerwise import is_stacked
from netzoo.training.patterns import path_name

# The first part of the paths of parameters, for the layers of all families in order of computation.
# Layers of one kind are ordered by their numbers.
_KINDS = {
    "stem": r"stem(?:_norm)?",
    "stageI_blockJ": r"stage(\d+)_block(\d+)(?:_norm)?",
    "embedding": r"(?:(?:source|target)_)?embedding(?:_norm)?|position_embedding"
    r"|class_token|register_tokens",
    "encoder": r"encoder",
    "decoder": r"decoder",
    "head": r"head(?:_norm)?",
    "headI": r"head(\d+)(?:_norm)?",
    "pooled_norm": r"pooled_norm",
    "hiddenI": r"hidden(\d+)",
    "pre_logits": r"pre_logits",
    "logits": r"logits|aux\d+",
}


class _Layer(NamedTuple):
    place: tuple[int, ...]  # sorts the layers
    name: str


def layer_factors(decay: float, params: ArrayTree) -> ArrayTree:
    """Return the learning-rate factor of every parameter: `decay ** (number of later layers)`.

    This is the layer-wise decay of Bao et al., arXiv:2106.08254, section 3.2, and of timm. A layer
    is a block or, outside blocks, a single layer with the norm that follows it. GoogLeNet's
    auxiliary heads count as logits. The factor is an array `[blocks, 1, ..., 1]`, float32, for a
    parameter of stacked blocks.

    Raises:
      UserError: The name of a parameter does not tell its place in the network.
    """
    later = _later_layers(params)
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    factors = []
    for (_, leaf), layers in zip(leaves, _layers(params), strict=True):
        factor = np.array([decay ** later[layer] for layer in layers], np.float32)
        shape = (-1, *[1] * (leaf.ndim - 1)) if len(layers) > 1 else ()
        factors.append(factor.reshape(shape))
    return jax.tree.unflatten(structure, factors)


def describe(decay: float, params: ArrayTree) -> str:
    """Return a title and a line per layer with its factor and its number of parameters."""
    later = _later_layers(params)
    sizes = dict.fromkeys(later, 0)
    for leaf, layers in zip(jax.tree.leaves(params), _layers(params), strict=True):
        for layer in layers:
            sizes[layer] += leaf.size // len(layers)
    lines = [
        f"  {layer.name} -> {decay ** later[layer]:.3g}: {size:,} parameters"
        for layer, size in sizes.items()
    ]
    return "\n".join(["layer decay:", *lines])


def _later_layers(params: ArrayTree) -> dict[_Layer, int]:
    """Return the layers in order of computation, and how many follow each of them."""
    order = sorted({layer for layers in _layers(params) for layer in layers})
    return {layer: len(order) - number for number, layer in enumerate(order, start=1)}


def _layers(params: ArrayTree) -> list[list[_Layer]]:
    """Return the layer of every parameter, or the layers of a parameter of stacked blocks."""
    leaves = [(path_name(path), x) for path, x in jax.tree_util.tree_leaves_with_path(params)]
    depths = {name.split("/")[0]: len(x) for name, x in leaves if is_stacked(name)}
    found = []
    for name, _ in leaves:
        layer = _layer(name)
        depth = depths.get(name.split("/")[0], 0)
        # The norm of a stack belongs to its last block.
        blocks = range(depth)[0 if is_stacked(name) else -1 :]
        stack = [_Layer((*layer.place, b), f"{layer.name}/block{b + 1}") for b in blocks]
        found.append(stack or [layer])
    return found


def _layer(name: str) -> _Layer:
    first = name.split("/")[0]
    for number, (kind, pattern) in enumerate(_KINDS.items()):
        if match := re.fullmatch(pattern, first):
            place = (number, *map(int, match.groups()))
            return _Layer(place, first.removesuffix("_norm") if match.groups() else kind)
    raise UserError(
        f"optimizer.layer_decay cannot tell the place of {name} in the network; expected names "
        f"that begin with {', '.join(_KINDS)}. Name the layers so, or set optimizer.lr_mults."
    )
