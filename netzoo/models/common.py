"""What families share: their layers, made alike, scanned blocks, and the refusal of images."""

import functools

import flax.linen as nn
import jax

from netzoo import kernels
from netzoo.errors import UserError
from netzoo.layers import BatchNorm, Conv
from netzoo.models.remat import blocks_are_rematerialized


def conv_for(network: nn.Module, **options) -> functools.partial:
    """Returns `Conv` with the padding and compute type of a network's fields, and `options`."""
    return functools.partial(Conv, padding=network.padding, dtype=network.dtype, **options)


def norm_for(network: nn.Module) -> functools.partial:
    """Returns `BatchNorm` with the momentum, epsilon and compute type of a network's fields."""
    return functools.partial(
        BatchNorm,
        momentum=network.norm_momentum,
        epsilon=network.norm_epsilon,
        dtype=network.dtype,
    )


def scan_unroll(depth: int) -> int:
    """Returns how many of `depth` scanned blocks to write out one after the other.

    All on CPU, where the loop copies what the gradient needs into stacks and out again: a tenth of
    a training step, against one or two seconds of compilation. None elsewhere, nor where blocks are
    computed again in the backward pass: the loop is what keeps that for later.
    """
    unrolled = kernels.backend() == "cpu" and not blocks_are_rematerialized()
    return depth if unrolled else 1


def check_image_size(images: jax.Array, minimum: int, network: nn.Module) -> None:
    """Refuses images `[batch, height, width, channels]` of which a later stage would see nothing.

    Raises:
      UserError: A side is shorter than `minimum` pixels.
    """
    height, width = images.shape[1:3]
    if min(height, width) < minimum:
        raise UserError(
            f"images are {height}x{width} pixels; {type(network).__name__} halves them several "
            f"times and needs at least {minimum}x{minimum}"
        )
