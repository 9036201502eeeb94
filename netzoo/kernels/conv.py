"""The choice among the forms of a convolution."""

import jax

from netzoo.kernels.dense_conv import dense_conv
from netzoo.kernels.depthwise_conv import depthwise_conv
from netzoo.kernels.grouped_conv import grouped_conv
from netzoo.kernels.im2col_conv import has_few_pixels, im2col_conv
from netzoo.kernels.padding import NO_PADS
from netzoo.kernels.switch import backend
from netzoo.kernels.windows import Window
from netzoo.kernels.xla_conv import xla_conv


def convolve(x: jax.Array, kernel: jax.Array, window: Window, groups: int = 1) -> jax.Array:
    """Convolves images with a square kernel `[taps, taps, channels / groups, features]`.

    Maps `[batch, height, width, channels]` to `[batch, out_height, out_width, features]`; all are
    of one dtype.
    """
    if backend() == "native":
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
    """Convolves with one tap, as a product of matrices over every `stride`-th pixel.

    Through a four-dimensional contraction the gradient is several times slower on CPU. Through a
    strided convolution the kernel's gradient begins with a transposition of the images that takes
    ten times as long as the product.
    """
    x = x[:, ::stride, ::stride]
    y = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


def _patch_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves with a stride of the kernel's length, as a product of matrices over patches.

    XLA's gradient of such a convolution is ten times slower on CPU.
    """
    side, features = kernel.shape[0], kernel.shape[-1]
    (batch, height, width, channels), patch = x.shape, side * side * kernel.shape[2]
    rows, columns = height // side, width // side
    x = x[:, : rows * side, : columns * side].reshape(batch, rows, side, columns, side, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch * rows * columns, patch)
    return (x @ kernel.reshape(patch, features)).reshape(batch, rows, columns, features)
