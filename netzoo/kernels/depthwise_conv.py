"""Depthwise convolution that is fast on CPU.

XLA's CPU backend lowers a convolution with one group per channel to a scalar loop, ten times slower
than the arithmetic requires. Written as `kernel height x kernel width` shifted multiply-adds over
the channel axis, the convolution is vectorised and multithreaded. The gradients are written in the
same way:

* The input gradient is a sum of shifted products, computed separately for each phase of the stride,
  so that no tap multiplies an inserted zero.
* The kernel gradient reduces over batch and space. With one reduction per tap, XLA reads the images
  once per tap on one thread. Here a scan accumulates the gradient image by image: all taps read an
  image while it is in cache, and only the small per-position sums are reduced at the end.

The kernel has `flax.linen.Conv`'s shape `[height, width, 1, channels]`.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from netzoo.kernels.windows import Window, add_taps, taps


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise_conv(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """Convolve every channel with its own kernel; see `netzoo.kernels.conv.convolve`."""
    pixels_of_taps = taps(x, kernel.shape[:2], window)
    rows = kernel.reshape(-1, kernel.shape[-1])
    weights: Iterator[Any] = (lax.broadcast_to_rank(row, x.ndim) for row in rows)
    return sum(pixels * weight for pixels, weight in zip(pixels_of_taps, weights, strict=True))


def _forward(x, kernel, window):
    return depthwise_conv(x, kernel, window), (x, kernel)


def _backward(window, residuals, dy):
    x, kernel = residuals
    size, taps_of_kernel = x.shape[1:3], kernel.shape[:2]

    def term(i, j, dy):
        return dy * lax.broadcast_to_rank(kernel[i, j, 0], dy.ndim)

    d_x = add_taps(term, (dy,), size, taps_of_kernel, window)
    return d_x, _kernel_gradient(x, dy, kernel.shape, window).astype(kernel.dtype)


depthwise_conv.defvjp(_forward, _backward)


def _kernel_gradient(x, dy, kernel_shape, window: Window):
    def add_image(sums, image_and_gradient):
        image, gradient = image_and_gradient
        pixels_of_taps = taps(image, kernel_shape[:2], window)
        sums = tuple(
            total + pixels.astype(total.dtype) * gradient
            for total, pixels in zip(sums, pixels_of_taps, strict=True)
        )
        return sums, None

    # Sum in float32 or wider: bfloat16 would lose most of the thousands of terms.
    zeros = jnp.zeros(dy.shape[1:], jnp.promote_types(dy.dtype, jnp.float32))
    sums, _ = lax.scan(add_image, (zeros,) * (kernel_shape[0] * kernel_shape[1]), (x, dy))
    return jnp.stack([total.sum((0, 1)) for total in sums]).reshape(kernel_shape)
