"""What the parameters of a network look like: kernels, position embeddings, BatchNorm."""

import functools
from typing import NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import numpy as np
from chex import ArrayTree

from netzoo.errors import UserError
from netzoo.layers import BatchNorm
from netzoo.models.endpoint_shapes import is_square
from netzoo.models.summary import example_inputs

POSITIONS = "position_embedding"


class NormStatistics(NamedTuple):
    """The variables of one BatchNorm, float32 `[channels]` each."""

    mean: np.ndarray
    var: np.ndarray
    scale: np.ndarray
    bias: np.ndarray


def first_kernels(variables: ArrayTree) -> np.ndarray:
    """Return the kernels that read the image, float32 `[kernels, height, width, 3]`.

    Raises:
      UserError: No convolution reads three channels.
    """
    for leaf in flax.traverse_util.flatten_dict(variables["params"]).values():
        if leaf.ndim == 4 and leaf.shape[2] == 3:
            return np.moveaxis(np.asarray(leaf, np.float32), -1, 0)
    raise UserError("the network has no kernels of three channels; expected a network on images")


def kernel_components(variables: ArrayTree, count: int = 28) -> np.ndarray:
    """Return the principal components of the kernels that read the image.

    Figure 7 of Dosovitskiy et al. (arXiv:2010.11929) shows 28 components of a ViT.

    Returns:
      float32 `[components, height, width, 3]`, with norms of 1. The component along which the
      kernels vary most comes first. A network with few or small kernels has fewer than `count`.

    Raises:
      UserError: No convolution reads three channels.
    """
    kernels = first_kernels(variables)
    flat = kernels.reshape(len(kernels), -1)
    components = np.linalg.svd(flat - flat.mean(0), full_matrices=False)[2]
    return components[:count].reshape(-1, *kernels.shape[1:])


def position_similarity(variables: ArrayTree) -> np.ndarray:
    """Return the cosine similarity of the position embeddings of patches.

    Returns:
      float32 `[rows, columns, rows, columns]`, for each pair of patches. Class and register
      tokens are left out.

    Raises:
      UserError: The network has no position embedding of a square of patches.
    """
    if POSITIONS not in variables["params"]:
        raise UserError("the network has no position embedding; expected a Vision Transformer")
    embedding = np.asarray(variables["params"][POSITIONS], np.float64)[0]
    others = [variables["params"].get(name) for name in ("class_token", "register_tokens")]
    # A square has no positions of other tokens.
    first = 0 if is_square(len(embedding)) else sum(x.shape[1] for x in others if x is not None)
    patches = embedding[first:]
    side = round(len(patches) ** 0.5)
    if side * side != len(patches):
        raise UserError(f"the {len(patches)} patches of the position embedding are not a square")
    unit = patches / np.maximum(np.linalg.norm(patches, axis=1, keepdims=True), 1e-30)
    return (unit @ unit.T).reshape(4 * (side,)).astype(np.float32)


def batch_norm_statistics(
    model: nn.Module, variables: ArrayTree, image_size: int = 224
) -> dict[str, NormStatistics]:
    """Return the variables of every BatchNorm by its path, in the order of computation.

    Args:
      model: The network, without folded BatchNorm.
      variables: Its variables.
      image_size: Side of the images in pixels.

    Raises:
      UserError: The variables have no statistics of BatchNorm.
    """
    if not variables.get("batch_stats"):
        raise UserError(
            f"{type(model).__name__} has no statistics of BatchNorm; expected a network with "
            "BatchNorm, not folded"
        )
    paths: list[tuple[str, ...]] = []

    def note(next_call, args, kwargs, context):
        if isinstance(context.module, BatchNorm) and context.module.path not in paths:
            paths.append(context.module.path)
        return next_call(*args, **kwargs)

    with nn.intercept_methods(note):
        apply = functools.partial(model.apply, train=False)
        jax.eval_shape(apply, variables, *example_inputs(image_size))
    params, statistics = (
        flax.traverse_util.flatten_dict(variables[name]) for name in ("params", "batch_stats")
    )
    found = {}
    for path in paths:
        mean, var = (np.asarray(statistics[*path, name]) for name in ("mean", "var"))
        bias = np.asarray(params.get((*path, "bias"), np.zeros_like(mean)))
        scale = np.asarray(params.get((*path, "scale"), np.ones_like(mean)))
        found["/".join(path)] = NormStatistics(mean, var, scale, bias)
    return found
