"""Update rules that treat a layer's kernel as a whole: trust ratios, and Muon.

The parameters of scanned blocks are stacked along their first axis; each block is a layer.
"""

import re

import jax
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from netzoo.models.remat import SCANNED
from netzoo.training.patterns import path_name

_map = jax.tree_util.tree_map_with_path
# The first and the last layers, whose kernels Muon leaves to Adam.
_NOT_HIDDEN = re.compile(r"(stem|(.+_)?embedding)/.*|(.*/)?logits/.*")
# The root mean square of Adam's updates in practice (Liu et al., arXiv:2502.16982, section 2.2).
_ADAM_RMS = 0.2


def is_stacked(name: str) -> bool:
    """Return whether a parameter's first axis counts the blocks of a scan."""
    return SCANNED in name.split("/")


def scale_by_trust_ratio(coefficient: float = 1.0) -> optax.GradientTransformation:
    """Scale every layer's update to its parameter's norm times `coefficient`.

    This is the trust ratio of LARS (You et al., arXiv:1708.03888, section 4) and LAMB (You et al.,
    arXiv:1904.00962, Algorithm 2). Biases and scales, which have one axis, keep their updates, as
    in the code of LAMB's authors.
    """
    ratio = optax.scale_by_trust_ratio(trust_coefficient=coefficient)

    def scale(path, update, param):
        def scaled(update, param):
            return ratio.update(update, optax.EmptyState(), param)[0]

        stacked = is_stacked(path_name(path))
        if param.ndim - stacked < 2:
            return update
        return (jax.vmap(scaled) if stacked else scaled)(update, param)

    return optax.stateless(lambda u, p: _map(scale, u, p))


def scale_by_muon_or_adam(
    momentum: float, b1: float, b2: float, epsilon: float
) -> optax.GradientTransformation:
    """Orthogonalise the updates of hidden kernels by Muon; scale all others by Adam.

    Muon (Jordan et al., https://kellerjordan.github.io/posts/muon) takes a kernel of a dense layer
    as a matrix, and the kernel of a convolution as one of `[height * width * inputs, outputs]`.
    Its updates are scaled to the root mean square of Adam's, so that both need the same learning
    rate and weight decay (arXiv:2502.16982). `momentum` is Muon's, with Nesterov's rule; the other
    arguments are Adam's.
    """

    def labels(params):
        return _map(lambda path, leaf: "muon" if _matrix_axes(path, leaf) else "adam", params)

    def rescale(updates, params):
        del params
        return _map(_scale_to_adam, updates)

    muon = scale_by_muon(
        beta=momentum, weight_dimension_numbers=lambda tree: _map(_matrix_axes, tree)
    )
    return optax.partition(
        {
            "muon": optax.chain(muon, optax.stateless(rescale)),
            "adam": optax.scale_by_adam(b1, b2, epsilon),
        },
        labels,
    )


def _scale_to_adam(path, update: jax.Array) -> jax.Array:
    """Scale a semi-orthogonal update, whose root mean square is 1 / sqrt(longer side)."""
    blocks = len(update) if is_stacked(path_name(path)) else 1
    inputs = update.size // (blocks * update.shape[-1])
    return _ADAM_RMS * max(inputs, update.shape[-1]) ** 0.5 * update


def _matrix_axes(path, leaf) -> MuonDimensionNumbers | None:
    """Return the axes of a hidden kernel's inputs and outputs, or None for another parameter.

    A depthwise kernel, whose outputs have one input each, is not a matrix.
    """
    name = path_name(path)
    first = int(is_stacked(name))
    kernel = name.split("/")[-1] == "kernel" and leaf.ndim - first >= 2
    depthwise = leaf.ndim - first == 4 and leaf.shape[-2] == 1
    if not kernel or depthwise or _NOT_HIDDEN.fullmatch(name):
        return None
    return MuonDimensionNumbers(tuple(range(first, leaf.ndim - 1)), (leaf.ndim - 1,))
