"""Convolution of images with fewer pixels than the kernel has taps, as one product on CPU.

XLA exchanges images and kernel where that makes the window smaller, and its CPU backend has no fast
form for the result: 3x3 on 2x2 pixels, in the last stage of a ResNet at 64 px, takes 45 times as
long as on 4x4. The pixels of all taps, side by side, times the kernel need no window at all.
"""

import jax
import jax.numpy as jnp

from netzoo.kernels.padding import Pads
from netzoo.kernels.windows import taps


def has_few_pixels(
    size: tuple[int, int], kernel_size: int, stride: int, pads: Pads, dilation: int
) -> bool:
    """Returns whether the input images or the output images have fewer pixels than the kernel taps.

    The output counts because the gradient starts from it. If the input is far larger than the
    output, the answer is False: the product would be as large.
    """
    before, after = size[0] * size[1], 1
    for length, (low, high) in zip(size, pads, strict=True):
        after *= (length + low + high - dilation * (kernel_size - 1) - 1) // stride + 1
    return min(before, after) < kernel_size**2 and before * after <= kernel_size**4


def im2col_conv(
    x: jax.Array, kernel: jax.Array, stride: int, pads: Pads, dilation: int
) -> jax.Array:
    """Convolves by a product of matrices; see `netzoo.kernels.conv.convolve`."""
    rows, columns, channels, features = kernel.shape
    columns_of_taps = jnp.concatenate(taps(x, (rows, columns), stride, pads, dilation), axis=-1)
    y = columns_of_taps.reshape(-1, rows * columns * channels) @ kernel.reshape(-1, features)
    return y.reshape(*columns_of_taps.shape[:3], features)
