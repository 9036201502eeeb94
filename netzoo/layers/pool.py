"""Pooling with the padding conventions of `netzoo.kernels.padding`, and rounding up by option."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from netzoo.kernels import pool
from netzoo.kernels.padding import Padding, window_padding
from netzoo.kernels.pool import adaptive_avg_pool


def max_pool(
    x: jax.Array,
    window: int,
    stride: int,
    *,
    padding: Padding | int = "torch",
    ceil: bool = False,
) -> jax.Array:
    """Takes the largest value of every window over `[batch, height, width, channels]`.

    The gradient goes to the first pixel that has it, row by row, as in PyTorch.

    Args:
      x: The images.
      window: Side of the window, in pixels.
      stride: Step between windows, in pixels.
      padding: Padding convention, or the number of pixels on every side. Padded pixels never win.
      ceil: Whether a last window may reach past the edge, so that the output size rounds up.

    Returns:
      `[batch, height', width', channels]`.
    """
    pads = window_padding(x.shape[1:3], window, stride, padding, ceil)
    return pool.max_pool(x, window, stride, pads)


def avg_pool(
    x: jax.Array, window: int, stride: int, *, padding: Padding | int = 0, ceil: bool = False
) -> jax.Array:
    """Averages every window over `[batch, height, width, channels]`; padded pixels do not count."""
    pads = window_padding(x.shape[1:3], window, stride, padding, ceil)
    mean = nn.avg_pool(x, (window, window), (stride, stride), pads, count_include_pad=False)
    return mean.astype(x.dtype)  # the counts of pixels are float32


def global_avg_pool(x: jax.Array) -> jax.Array:
    """Averages over space, `[batch, height, width, channels]` to `[batch, channels]`.

    In float32, or wider where `x` is: classifiers work in full precision whatever the network
    computes in.
    """
    return adaptive_avg_pool(x.astype(jnp.promote_types(x.dtype, jnp.float32)), 1)[:, 0, 0]
