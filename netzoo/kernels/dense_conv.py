"""Convolution with one group, whose gradients are fast on CPU in loops and branches too.

XLA's CPU backend hands a convolution to Eigen if the features come last in its input and in its
output. It rewrites gradients to that form in the outermost computation only. In a loop or a branch,
as for rematerialisation or accumulated gradients, they keep a scalar form: a ResNet-50's step takes
eighteen times as long. Here the gradients are written in the fast form.
"""

import functools

import jax
from jax import lax

from netzoo.kernels.windows import Window
from netzoo.kernels.xla_conv import xla_conv


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def dense_conv(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """Convolves all channels with all; see `netzoo.kernels.conv.convolve`."""
    return xla_conv(x, kernel, window)


def _forward(x, kernel, window):
    return dense_conv(x, kernel, window), (x, kernel)


def _backward(window, residuals, dy):
    (x, kernel), (stride, pads, dilation) = residuals, window
    x_margins, kernel_margins = [], []
    for length, out, taps, (before, _) in zip(
        x.shape[1:3], dy.shape[1:3], kernel.shape[:2], pads, strict=True
    ):
        reach, last_start = dilation * (taps - 1), (out - 1) * stride
        x_margins.append((reach - before, length + before - last_start - 1))
        kernel_margins.append((before, reach + last_start + 1 - length - before))
    turned = lax.rev(kernel, (0, 1)).swapaxes(2, 3)
    d_x = xla_conv(dy, turned, Window(1, x_margins, dilation), spread=stride)
    # The sum runs over the examples, so they take the place of channels.
    images, taps_of_images = x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3)
    d_kernel = xla_conv(images, taps_of_images, Window(dilation, kernel_margins, stride))
    return d_x, d_kernel.transpose(1, 2, 0, 3)


dense_conv.defvjp(_forward, _backward)
