"""A dense layer whose backward pass is written as the products that it is.

Few rows times a kernel that no cache holds, as in AlexNet's classifier, are a convolution on CPU:
XLA's kernels for products copy the kernel into a layout of their own first, those for convolutions
less of it at a time. 32 rows by 9216 x 4096 take 16 ms instead of 32.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from netzoo.kernels.xla_conv import native_conv

FEW_ROWS = 64
LARGE_KERNEL = 2**22


@jax.custom_vjp
def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns `x @ kernel`, whose gradients need no copy of an operand on CPU.

    Automatic differentiation computes the kernel's gradient transposed. Turning that back, XLA
    writes out the transposed gradient of the output, and multiplies with it at half the speed.

    Args:
      x: `[..., features]`.
      kernel: `[features, classes]`, of the same dtype.
    """
    if not (1 < math.prod(x.shape[:-1]) <= FEW_ROWS and kernel.size >= LARGE_KERNEL):
        return x @ kernel
    return lax.platform_dependent(x, kernel, cpu=_convolve, default=jnp.matmul)


def _convolve(x, kernel):
    images = x.reshape(-1, 1, 1, x.shape[-1])
    y = native_conv(images, kernel[None, None], stride=1, pads=((0, 0), (0, 0)), dilation=1)
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


def _forward(x, kernel):
    return matmul(x, kernel), (x, kernel)


def _backward(residuals, dy):
    x, kernel = residuals
    rows, d_rows = (values.reshape(-1, values.shape[-1]) for values in (x, dy))
    d_kernel = lax.dot_general(rows, d_rows, (((0,), (0,)), ((), ())))
    # Kept apart from a transpose that follows, as of a shared embedding. To spare that little one
    # XLA turns the product around, which then takes a quarter more time.
    return dy @ kernel.T, lax.optimization_barrier(d_kernel)


matmul.defvjp(_forward, _backward)


class Dense(nn.Module):
    """The same as `flax.linen.Dense`, with the gradients of `matmul`.

    Attributes:
      features: Width of the output.
      dtype: Compute type; parameters stay float32.
      kernel_init: Initializer of the kernel.
      bias_init: Initializer of the bias.
    """

    features: int
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[..., width]` to `[..., features]`."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        y = matmul(x.astype(self.dtype), kernel.astype(self.dtype))
        return y + bias.astype(self.dtype)
