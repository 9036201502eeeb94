"""Products of matrices in the forms that are fast on CPU.

Few rows times a kernel that no cache holds, as in AlexNet's classifier, are a convolution on CPU:
XLA's kernels for products copy the kernel into a layout of their own first, those for convolutions
copy less of it at a time. 32 rows by 9216 x 4096 take 16 ms instead of 32.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import export, lax

from netzoo.kernels.switch import backend
from netzoo.kernels.windows import Window
from netzoo.kernels.xla_conv import xla_conv

FEW_ROWS = 64
LARGE_KERNEL = 2**22


def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns `x @ kernel` for `[..., features]` and `[features, classes]` of one dtype."""
    return x @ kernel if backend() == "native" else _matmul(x, kernel)


def affine(x: jax.Array, layers: Sequence[tuple[jax.Array, jax.Array]]) -> list[jax.Array]:
    """Returns `x @ kernel + bias` for several layers `([features, width], [width])` of one width.

    One product for all of them takes two thirds of the time of narrow ones on CPU. With few rows,
    putting the kernels together would cost more than it gains.
    """
    if backend() == "native" or _rows(x) < x.shape[-1]:
        return [matmul(x, kernel) + bias for kernel, bias in layers]
    kernel, bias = (jnp.concatenate(parts, -1) for parts in zip(*layers, strict=True))
    return jnp.split(matmul(x, kernel) + bias, len(layers), -1)


@jax.custom_vjp
def _matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiplies, with gradients that need no copy of an operand on CPU.

    Automatic differentiation computes the kernel's gradient transposed. To turn that back, XLA
    writes out the transposed gradient of the output, and multiplies with it at half the speed.
    """
    if not (1 < _rows(x) <= FEW_ROWS and kernel.size >= LARGE_KERNEL):
        return x @ kernel
    images = x.reshape(-1, 1, 1, x.shape[-1])
    y = xla_conv(images, kernel[None, None], Window())
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


def _forward(x, kernel):
    return _matmul(x, kernel), (x, kernel)


def _backward(residuals, dy):
    x, kernel = residuals
    rows, d_rows = (values.reshape(-1, values.shape[-1]) for values in (x, dy))
    d_kernel = lax.dot_general(rows, d_rows, (((0,), (0,)), ((), ())))
    # The barrier keeps a transpose that follows, as of a shared embedding, apart from the product.
    # To save that small transpose XLA would turn the product around, which takes a quarter longer.
    return dy @ kernel.T, lax.optimization_barrier(d_kernel)


_matmul.defvjp(_forward, _backward)


def _rows(x: jax.Array) -> float:
    """Returns the number of rows of `[..., features]`; a symbolic number counts as many."""
    rows = math.prod(x.shape[:-1])
    return math.inf if export.is_symbolic_dim(rows) else rows
