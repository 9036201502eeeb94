"""Selects the implementation of a convolution."""

import jax

from netzoo.kernels.dense_conv import dense_conv
from netzoo.kernels.depthwise_conv import depthwise_conv
from netzoo.kernels.dot import dot
from netzoo.kernels.grouped_conv import grouped_conv
from netzoo.kernels.im2col_conv import has_few_pixels, im2col_conv
from netzoo.kernels.padding import NO_PADS
from netzoo.kernels.switch import backend
from netzoo.kernels.windows import Window
from netzoo.kernels.xla_conv import xla_conv


def convolve(x: jax.Array, kernel: jax.Array, window: Window, groups: int = 1) -> jax.Array:
    """Convolve images with a square kernel `[taps, taps, channels / groups, features]`.

    `x` is `[batch, height, width, channels]`; the result is `[batch, out_height, out_width,
    features]`. All have the same dtype.
    """
    if backend() != "cpu":
        return xla_conv(x, kernel, window, groups)
    taps, features, channels = kernel.shape[0], kernel.shape[-1], x.shape[-1]
    if taps == groups == 1 and window.pads == NO_PADS:
        return _pointwise_conv(x, kernel, window.stride)
    if groups == 1 and window == Window(stride=taps):
        return _patch_conv(x, kernel)
    if groups == channels == features:
        return depthwise_conv(x, kernel, window)
    if groups > 1:
        return grouped_conv(x, kernel, window, groups)
    if has_few_pixels(x.shape[1:3], taps, window):
        return im2col_conv(x, kernel, window)
    return dense_conv(x, kernel, window)


def _pointwise_conv(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Convolve with a 1x1 kernel, as a matrix product over every `stride`-th pixel.

    On CPU, the gradient of a four-dimensional contraction is several times slower. The kernel
    gradient of a strided convolution first transposes the images, which takes ten times as long as
    the product.
    """
    x = x[:, ::stride, ::stride]
    y = dot(x.reshape(-1, x.shape[-1]), kernel[0, 0])
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


def _patch_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve with a stride equal to the kernel size, as a matrix product over patches.

    XLA's gradient of this convolution is ten times slower on CPU.
    """
    side, features = kernel.shape[0], kernel.shape[-1]
    (batch, height, width, channels), patch = x.shape, side * side * kernel.shape[2]
    rows, columns = height // side, width // side
    x = x[:, : rows * side, : columns * side].reshape(batch, rows, side, columns, side, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch * rows * columns, patch)
    return dot(x, kernel.reshape(patch, features)).reshape(batch, rows, columns, features)
