"""The Gaussian error linear unit (Hendrycks and Gimpel, arXiv:1606.08415)."""

import math

import flax.linen as nn
import jax
from jax import lax

from netzoo.kernels.switch import backend


def gelu(x: jax.Array, *, approximate: bool = False) -> jax.Array:
    """Returns `x` times the normal distribution function at `x`, elementwise.

    `flax.linen.gelu` computes the same from `erfc`. On CPU that takes half a dozen passes over the
    array and keeps several intermediate values for the gradient; the form for CPU keeps `x`.

    Args:
      x: Any shape.
      approximate: Use the formula with the hyperbolic tangent.
    """
    if backend() == "native":
        return nn.gelu(x, approximate=approximate)
    return jax.checkpoint(_by_tanh if approximate else _by_erf)(x)


def _by_erf(x: jax.Array) -> jax.Array:
    return 0.5 * x * (1 + lax.erf(x / math.sqrt(2)))


def _by_tanh(x: jax.Array) -> jax.Array:
    return nn.gelu(x, approximate=True)
