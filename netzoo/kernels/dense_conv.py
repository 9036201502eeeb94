"""Convolution with one group, with gradients that stay fast on CPU inside loops and branches.

XLA's CPU backend runs a convolution in Eigen if the features are the last axis of its input and
output. It rewrites gradients to this layout only in the outermost computation. In a loop or a
branch, as in rematerialisation or gradient accumulation, the gradients stay scalar loops, and a
step of ResNet-50 takes eighteen times as long. This module writes the gradients in the fast layout.
"""

import functools

import jax
from jax import lax

from netzoo.kernels.windows import Window
from netzoo.kernels.xla_conv import xla_conv


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def dense_conv(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """Convolve with one group; see `netzoo.kernels.conv.convolve`."""
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
    # The sum runs over the examples, so the batch axis takes the place of the channels.
    images, taps_of_images = x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3)
    d_kernel = xla_conv(images, taps_of_images, Window(dilation, kernel_margins, stride))
    return d_x, d_kernel.transpose(1, 2, 0, 3)


dense_conv.defvjp(_forward, _backward)
