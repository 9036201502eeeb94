"""Matrix products that are fast on CPU.

A product of few rows and a kernel larger than the caches, as in AlexNet's classifier, runs as a
convolution on CPU. XLA's matrix product first copies the whole kernel into another layout; its
convolution copies less at a time. For 32 rows and a kernel of 9216 x 4096, this takes 16 ms instead
of 32 ms.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import export, lax

from netzoo.kernels.dot import dot, rounds
from netzoo.kernels.switch import backend
from netzoo.kernels.windows import Window
from netzoo.kernels.xla_conv import xla_conv

FEW_ROWS = 64
LARGE_KERNEL = 2**22


def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return `x @ kernel` for `[..., features]` and `[features, classes]` of the same dtype."""
    return dot(x, kernel) if backend() != "cpu" or rounds(x) else _matmul(x, kernel)


def affine(x: jax.Array, layers: Sequence[tuple[jax.Array, jax.Array]]) -> list[jax.Array]:
    """Return `x @ kernel + bias` for layers `([features, width], [width])` of the same width.

    On CPU, one product for all layers takes two thirds of the time of separate products. With few
    rows, concatenating the kernels would cost more than it gains.
    """
    if backend() != "cpu" or _rows(x) < x.shape[-1]:
        return [_plus(matmul(x, kernel), bias) for kernel, bias in layers]
    kernel, bias = (jnp.concatenate(parts, -1) for parts in zip(*layers, strict=True))
    return jnp.split(_plus(matmul(x, kernel), bias), len(layers), -1)


def _plus(y: jax.Array, bias: jax.Array) -> jax.Array:
    return y + lax.broadcast_to_rank(bias, y.ndim)


@jax.custom_vjp
def _matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiply, with gradients that need no copy of an operand on CPU.

    Automatic differentiation computes the transpose of the kernel gradient. To transpose it back,
    XLA materialises the transposed output gradient and multiplies by it at half the speed.
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
    # The barrier separates the product from a later transpose, such as that of a shared embedding.
    # To save this small transpose, XLA would transpose the product, which takes a quarter longer.
    return dy @ kernel.T, lax.optimization_barrier(d_kernel)


_matmul.defvjp(_forward, _backward)


def _rows(x: jax.Array) -> float:
    """Return the number of rows of `[..., features]`, infinity if the number is symbolic."""
    rows = math.prod(x.shape[:-1])
    return math.inf if export.is_symbolic_dim(rows) else rows
