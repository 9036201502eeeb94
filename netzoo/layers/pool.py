"""Pooling with the padding conventions of `netzoo.layers.padding`, and rounding up by option."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from netzoo.layers.padding import Padding, spatial_padding


def max_pool(
    x: jax.Array,
    window: int,
    stride: int,
    *,
    padding: Padding | int = "torch",
    ceil: bool = False,
) -> jax.Array:
    """Largest value of every window over `[batch, height, width, channels]`.

    Args:
      x: The images.
      window: Side of the window, in pixels.
      stride: Step between windows, in pixels.
      padding: Padding convention, or the number of pixels on every side. Padded pixels never win.
      ceil: Whether a last window may reach past the edge, so that the output size rounds up.

    Returns:
      `[batch, height', width', channels]`.
    """
    pads = _pads(x, window, stride, padding, ceil)
    return nn.max_pool(x, (window, window), (stride, stride), pads)


def avg_pool(
    x: jax.Array, window: int, stride: int, *, padding: Padding | int = 0, ceil: bool = False
) -> jax.Array:
    """Mean of every window over `[batch, height, width, channels]`; padded pixels do not count."""
    pads = _pads(x, window, stride, padding, ceil)
    mean = nn.avg_pool(x, (window, window), (stride, stride), pads, count_include_pad=False)
    return mean.astype(x.dtype)  # the counts of pixels are float32


def global_avg_pool(x: jax.Array) -> jax.Array:
    """Means over space, `[batch, height, width, channels]` to `[batch, channels]`.

    In float32, or wider where `x` is: classifiers work in full precision whatever the network
    computes in.
    """
    return x.mean((1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))


def adaptive_avg_pool(x: jax.Array, size: int) -> jax.Array:
    """Averages `[batch, height, width, channels]` down to `[batch, size, size, channels]`.

    Output row `i` is the mean of the rows from `floor(i * height / size)` to
    `ceil((i + 1) * height / size)`, as in PyTorch's `AdaptiveAvgPool2d`; so a smaller image is
    repeated.
    """
    for axis in (1, 2):
        length = x.shape[axis]
        if length != size:
            edges = [(i * length // size, -(-(i + 1) * length // size)) for i in range(size)]
            parts = [jax.lax.slice_in_dim(x, a, b, axis=axis) for a, b in edges]
            x = jnp.concatenate([part.mean(axis, keepdims=True) for part in parts], axis)
    return x


def _pads(x, window: int, stride: int, padding: Padding | int, ceil: bool):
    pads = []
    for size in x.shape[1:3]:
        if isinstance(padding, int):
            before = after = padding
        else:
            before, after = spatial_padding(size, window, stride, padding)
        if ceil:
            # The last window has to start inside the image or the padding before it.
            steps = -(-(size + before + after - window) // stride)
            if steps * stride >= size + before:
                steps -= 1
            after = max(after, steps * stride + window - size - before)
        pads.append((before, after))
    return pads
