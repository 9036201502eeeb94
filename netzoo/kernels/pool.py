"""Pooling with the padding conventions of `netzoo.kernels.padding`.

XLA's CPU backend computes the gradient of max-pooling by scattering windows on one core;
`_backward` is 3 to 12 times faster on CPU.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from netzoo.kernels.padding import Padding, Pads, spatial_padding
from netzoo.kernels.switch import backend
from netzoo.kernels.windows import Size, Window, add_taps, taps


def max_pool(
    x: jax.Array,
    window: int,
    stride: int,
    *,
    padding: Padding | int = "torch",
    ceil: bool = False,
) -> jax.Array:
    """Take the largest value of every window over `[batch, height, width, channels]`.

    If several pixels are the largest, the gradient goes to the first in row-major order, as in
    PyTorch.

    Args:
      x: The images.
      window: Side of the window, in pixels.
      stride: Step between windows, in pixels.
      padding: Padding convention, or the number of pixels on every side. Padded pixels never win.
      ceil: Whether the last window may extend beyond the edge, so that the output size rounds up.
    """
    form = _xla_max_pool if backend() != "cpu" else _max_pool
    pads = window_pads(x.shape[1:3], window, stride, padding, ceil)
    return form(x, (window, window), Window(stride, pads))


def global_avg_pool(x: jax.Array) -> jax.Array:
    """Average over space, `[batch, height, width, channels]` to `[batch, channels]`.

    The result is float32, or the dtype of `x` if that is wider: classifiers work in full precision
    in every network.
    """
    return adaptive_avg_pool(x.astype(jnp.promote_types(x.dtype, jnp.float32)), 1)[:, 0, 0]


def _xla_max_pool(x: jax.Array, size: Size, window: Window) -> jax.Array:
    return nn.max_pool(x, size, (window.stride, window.stride), window.pads)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _max_pool(x: jax.Array, size: Size, window: Window) -> jax.Array:
    # For overlapping windows with a stride above 1, slices are not faster than XLA's pooling. For
    # windows that do not overlap, XLA would fuse its pooling with the preceding convolutions, as in
    # `adaptive_avg_pool`.
    if 1 < window.stride < size[0]:
        return _xla_max_pool(x, size, window)
    return functools.reduce(jnp.maximum, taps(x, size, window, fill=-jnp.inf))


def _forward(x, size, window):
    y = _max_pool(x, size, window)
    return y, (x, y)


def _backward(size, window, residuals, dy):
    x, y = residuals
    # One-based number of the first tap that holds the maximum. Windows of padding alone have 0.
    number_type = jnp.uint8 if size[0] < 16 else jnp.uint16
    winner = jnp.zeros(y.shape, number_type)
    for number, pixels in enumerate(taps(x, size, window, fill=-jnp.inf), 1):
        winner = jnp.where((winner == 0) & (pixels == y), number_type(number), winner)

    def term(i, j, winner, dy):
        return jnp.where(winner == i * size[1] + j + 1, dy, 0)

    # Without the barrier, every tap would recompute the winner.
    arrays = (lax.optimization_barrier(winner), dy)
    return (add_taps(term, arrays, x.shape[1:3], size, window),)


_max_pool.defvjp(_forward, _backward)


def adaptive_avg_pool(x: jax.Array, size: int) -> jax.Array:
    """Average `[batch, height, width, channels]` down to `[batch, size, size, channels]`.

    Output row `i` is the mean of the rows from `floor(i * height / size)` to `ceil((i + 1) * height
    / size)`, as in PyTorch's `AdaptiveAvgPool2d`. Pixels of an image smaller than `size` are
    repeated.
    """
    batch, height, width, channels = x.shape
    if height == width == size:
        return x
    wide = jnp.promote_types(x.dtype, jnp.float32)  # half precision rounds 1/3
    if size == 1 and backend() != "cpu":
        return x.mean((1, 2), dtype=wide, keepdims=True).astype(x.dtype)
    # A product, because XLA's CPU backend would fuse a sum with the convolution that feeds it, and
    # then run the convolution on one core.
    shares = np.kron(_shares(height, size), _shares(width, size))
    means = jnp.einsum(
        "pk,nkc->npc",
        shares.astype(wide),
        x.reshape(batch, height * width, channels).astype(wide),
        precision=lax.Precision.HIGHEST,
    )
    return means.reshape(batch, size, size, channels).astype(x.dtype)


def _shares(length: int, size: int) -> np.ndarray:
    """Return the weight of each of `length` pixels in each of `size` means, `[size, length]`."""
    shares = np.zeros((size, length))
    for i, row in enumerate(shares):
        window = slice(i * length // size, -(-(i + 1) * length // size))
        row[window] = 1 / (window.stop - window.start)
    return shares


def window_pads(size: Size, window: int, stride: int, padding: Padding | int, ceil: bool) -> Pads:
    """Return the padding of images of `size` height and width; see `max_pool`."""
    pads = []
    for length in size:
        if isinstance(padding, int):
            before = after = padding
        else:
            before, after = spatial_padding(length, window, stride, padding)
        if ceil:
            # The last window must start inside the image or in the padding before it.
            steps = -(-(length + before + after - window) // stride)
            if steps * stride >= length + before:
                steps -= 1
            after = max(after, steps * stride + window - length - before)
        pads.append((before, after))
    return tuple(pads)
