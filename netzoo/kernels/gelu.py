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
    `approximate` takes the formula with the hyperbolic tangent.
    """
    if backend() == "native":
        return nn.gelu(x, approximate=approximate)
    return jax.checkpoint(nn.gelu if approximate else _by_erf)(x)  # nn.gelu is the approximate one


def _by_erf(x: jax.Array) -> jax.Array:
    return 0.5 * x * (1 + lax.erf(x / math.sqrt(2)))
