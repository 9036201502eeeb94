"""Depthwise convolution that is fast on CPU as well as on accelerators.

XLA's CPU backend lowers a convolution with one group per channel to a scalar loop, ten times
slower than the arithmetic needs. Written as `kernel height x kernel width` shifted multiply-adds
over the channel axis it vectorises and threads. The gradients need the same care:

* the input gradient is again a sum of shifted products, taken apart by the phase of the stride
  so that no tap multiplies an inserted zero;
* the kernel gradient reduces over batch and space. As separate reductions XLA passes over the
  images once per tap, without threads; accumulated image by image in a scan, all taps read an
  image while it is in cache and only the small per-position sums are reduced at the end.

GPU and TPU have native kernels, which are used there. The parameters are the same, the kernel has
`flax.linen.Conv`'s shape `[height, width, 1, channels]`.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from netzoo.kernels.padding import Pads
from netzoo.kernels.windows import add_taps, each_tap, tap, taps
from netzoo.kernels.xla_conv import native_conv


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def depthwise_conv(
    x: jax.Array, kernel: jax.Array, stride: int, pads: Pads, dilation: int
) -> jax.Array:
    """Convolves every channel with a kernel of its own.

    Args:
      x: `[batch, height, width, channels]`.
      kernel: `[kernel_height, kernel_width, 1, channels]`, of `x`'s dtype.
      stride: Step between output positions, the same in both axes.
      pads: Zeros before and after height and width.
      dilation: Distance between taps.

    Returns:
      `[batch, out_height, out_width, channels]` in `x`'s dtype.
    """
    forward = functools.partial(_shifted, stride=stride, pads=pads, dilation=dilation)
    native = functools.partial(
        native_conv, stride=stride, pads=pads, dilation=dilation, groups=x.shape[-1]
    )
    return lax.platform_dependent(x, kernel, cpu=forward, default=native)


def _forward(x, kernel, stride, pads, dilation):
    return depthwise_conv(x, kernel, stride, pads, dilation), (x, kernel)


def _backward(stride, pads, dilation, residuals, dy):
    static = {"stride": stride, "pads": pads, "dilation": dilation}

    def shifted(x, kernel, dy):
        return _input_gradient(dy, kernel, x.shape, **static), _kernel_gradient(
            x, dy, kernel.shape, **static
        ).astype(kernel.dtype)

    def native(x, kernel, dy):
        return jax.vjp(functools.partial(native_conv, groups=x.shape[-1], **static), x, kernel)[1](
            dy
        )

    return lax.platform_dependent(*residuals, dy, cpu=shifted, default=native)


depthwise_conv.defvjp(_forward, _backward)


def _shifted(x: jax.Array, kernel: jax.Array, *, stride: int, pads: Pads, dilation: int):
    seen = taps(x, kernel.shape[:2], stride, pads, dilation)
    weights = kernel.reshape(-1, kernel.shape[-1])
    return sum(pixels * weight for pixels, weight in zip(seen, weights, strict=True))


def _input_gradient(dy, kernel, x_shape, *, stride: int, pads: Pads, dilation: int):
    return add_taps(
        lambda i, j, dy: dy * kernel[i, j, 0],
        (dy,),
        x_shape[1:3],
        kernel.shape[:2],
        stride,
        pads,
        dilation,
    )


def _kernel_gradient(x, dy, kernel_shape, *, stride: int, pads: Pads, dilation: int):
    _, height, width, channels = dy.shape

    def add_image(sums, image_and_gradient):
        image, gradient = image_and_gradient
        padded = jnp.pad(image, (*pads, (0, 0)))
        sums = tuple(
            total
            + tap(padded, i * dilation, j * dilation, (height, width), stride).astype(total.dtype)
            * gradient
            for total, (i, j) in zip(sums, each_tap(*kernel_shape[:2]), strict=True)
        )
        return sums, None

    # Float32 sums at least, whatever the compute dtype: thousands of terms would drown in bfloat16.
    zeros = jnp.zeros((height, width, channels), jnp.promote_types(dy.dtype, jnp.float32))
    sums, _ = lax.scan(add_image, (zeros,) * (kernel_shape[0] * kernel_shape[1]), (x, dy))
    return jnp.stack([total.sum((0, 1)) for total in sums]).reshape(kernel_shape)
