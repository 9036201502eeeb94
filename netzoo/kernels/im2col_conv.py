"""Convolution of images with fewer pixels than the kernel has taps, as one product on CPU.

XLA exchanges images and kernel where that makes the window smaller, and its CPU backend has no fast
form for the result: 3x3 on 2x2 pixels, in the last stage of a ResNet at 64 px, takes 45 times as
long as on 4x4. The pixels of all taps, side by side, times the kernel need no window at all.
"""

import math

import jax
import jax.numpy as jnp

from netzoo.kernels.windows import Size, Window, taps


def has_few_pixels(size: Size, kernel_size: int, window: Window) -> bool:
    """Returns whether the input images or the output images have fewer pixels than the kernel taps.

    The output counts because the gradient starts from it. If the input is far larger than the
    output, the answer is False: the product would be as large.
    """
    before = math.prod(size)
    after = math.prod(window.output_size(size, (kernel_size, kernel_size)))
    return min(before, after) < kernel_size**2 and before * after <= kernel_size**4


def im2col_conv(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """Convolves by a product of matrices; see `netzoo.kernels.conv.convolve`."""
    columns = jnp.concatenate(taps(x, kernel.shape[:2], window), axis=-1)
    y = columns.reshape(-1, columns.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
    return y.reshape(*columns.shape[:3], kernel.shape[-1])
