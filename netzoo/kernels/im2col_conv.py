"""Convolution of images with fewer pixels than the kernel has taps, as one product on CPU.

XLA exchanges images and kernel where that makes the window smaller, and its CPU backend has no fast
form for what comes out: 3x3 on 2x2 pixels, in the last stage of a ResNet at 64 px, then takes 45
times as long as on 4x4. What every tap sees, side by side, times the kernel needs no window at all.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from netzoo.kernels.padding import Pads
from netzoo.kernels.windows import taps
from netzoo.kernels.xla_conv import native_conv


def has_few_pixels(
    size: tuple[int, int], kernel_size: int, stride: int, pads: Pads, dilation: int
) -> bool:
    """Returns whether the images, or those that come out, have fewer pixels than the kernel taps.

    Those that come out count since the gradient starts from them. If the images were far larger
    than these, the product would be, too; then it is not.
    """
    before, after = size[0] * size[1], 1
    for length, (low, high) in zip(size, pads, strict=True):
        after *= (length + low + high - dilation * (kernel_size - 1) - 1) // stride + 1
    return min(before, after) < kernel_size**2 and before * after <= kernel_size**4


def small_image_conv(
    x: jax.Array, kernel: jax.Array, stride: int, pads: Pads, dilation: int
) -> jax.Array:
    """Convolves; on CPU by a product of matrices.

    Args:
      x: `[batch, height, width, channels]`.
      kernel: `[kernel_height, kernel_width, channels, features]`, of `x`'s dtype.
      stride: Step between output positions, the same in both axes.
      pads: Zeros before and after height and width.
      dilation: Distance between taps.

    Returns:
      `[batch, out_height, out_width, features]` in `x`'s dtype.
    """
    options = {"stride": stride, "pads": pads, "dilation": dilation}
    product = functools.partial(_product, **options)
    native = functools.partial(native_conv, **options)
    return lax.platform_dependent(x, kernel, cpu=product, default=native)


def _product(x, kernel, *, stride: int, pads: Pads, dilation: int):
    rows, columns, channels, features = kernel.shape
    seen = jnp.concatenate(taps(x, (rows, columns), stride, pads, dilation), axis=-1)
    y = seen.reshape(-1, rows * columns * channels) @ kernel.reshape(-1, features)
    return y.reshape(*seen.shape[:3], features)
