"""Convolution with one group, whose gradients are fast on CPU in loops and branches too.

XLA's CPU backend hands a convolution to Eigen if the features come last in its input and in its
output. It rewrites gradients to that form in the outermost computation only. In a loop or a branch,
as for rematerialisation or accumulated gradients, they keep a scalar form: a ResNet-50's step takes
eighteen times as long. Here the gradients are written in the fast form.
"""

import functools

import jax
from jax import lax

from netzoo.kernels.padding import Pads
from netzoo.kernels.xla_conv import xla_conv


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def dense_conv(
    x: jax.Array, kernel: jax.Array, stride: int, pads: Pads, dilation: int
) -> jax.Array:
    """Convolves all channels with all; see `netzoo.kernels.conv.convolve`."""
    return xla_conv(x, kernel, stride, pads, dilation)


def _forward(x, kernel, stride, pads, dilation):
    return dense_conv(x, kernel, stride, pads, dilation), (x, kernel)


def _backward(stride, pads, dilation, residuals, dy):
    window = (stride, pads, dilation)
    return _input_gradient(*residuals, dy, *window), _kernel_gradient(*residuals, dy, *window)


dense_conv.defvjp(_forward, _backward)


def _input_gradient(x, kernel, dy, stride: int, pads: Pads, dilation: int):
    margins = []
    for length, out, taps, (before, _) in _axes(x, kernel, dy, pads):
        reach = dilation * (taps - 1)
        margins.append((reach - before, length + before - ((out - 1) * stride + 1)))
    turned = lax.rev(kernel, (0, 1)).swapaxes(2, 3)
    return xla_conv(dy, turned, 1, margins, dilation, spread=stride)


def _kernel_gradient(x, kernel, dy, stride: int, pads: Pads, dilation: int):
    margins = []
    for length, out, taps, (before, _) in _axes(x, kernel, dy, pads):
        end = dilation * (taps - 1) + (out - 1) * stride + 1
        margins.append((before, end - length - before))
    # The sum runs over the examples, so they take the place of channels.
    images, window = x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3)
    gradient = xla_conv(images, window, dilation, margins, stride)
    return gradient.transpose(1, 2, 0, 3)


def _axes(x, kernel, dy, pads: Pads):
    """Returns the pixels before and after, the taps and the padding of height and of width."""
    return zip(x.shape[1:3], dy.shape[1:3], kernel.shape[:2], pads, strict=True)
