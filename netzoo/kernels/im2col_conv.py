"""Convolution of images that have fewer pixels than the kernel has taps, as one product on CPU.

XLA swaps images and kernel if that makes the window smaller, and its CPU backend runs the result
slowly. A 3x3 convolution of 2x2 pixels, in the last stage of a ResNet at 64 px, takes 45 times as
long as one of 4x4 pixels. Here the pixels of all taps are concatenated and multiplied by the
kernel.
"""

import math

import jax
import jax.numpy as jnp

from netzoo.kernels.dot import dot
from netzoo.kernels.windows import Size, Window, taps


def has_few_pixels(size: Size, kernel_size: int, window: Window) -> bool:
    """Return whether the input or output images have fewer pixels than the kernel has taps.

    The output matters because the gradient convolves it. If the input is far larger than the
    output, the result is False, because the gradient's product would also be far larger.
    """
    before = math.prod(size)
    after = math.prod(window.output_size(size, (kernel_size, kernel_size)))
    return min(before, after) < kernel_size**2 and before * after <= kernel_size**4


def im2col_conv(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """Convolve by a matrix product; see `netzoo.kernels.conv.convolve`."""
    columns = jnp.concatenate(taps(x, kernel.shape[:2], window), axis=-1)
    y = dot(columns.reshape(-1, columns.shape[-1]), kernel.reshape(-1, kernel.shape[-1]))
    return y.reshape(*columns.shape[:3], kernel.shape[-1])
