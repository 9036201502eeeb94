"""The Gaussian error linear unit (Hendrycks and Gimpel, arXiv:1606.08415)."""

import math

import flax.linen as nn
import jax
from jax import lax

from netzoo.kernels.switch import backend


def gelu(x: jax.Array, *, approximate: bool = False) -> jax.Array:
    """Multiply `x` by the normal cumulative distribution function at `x`, elementwise.

    `flax.linen.gelu` computes the same from `erfc`. On CPU, it passes over the array about six
    times and keeps several intermediate arrays for the gradient; the CPU implementation keeps only
    `x`. `approximate` selects the formula with the hyperbolic tangent.
    """
    if backend() != "cpu":
        return nn.gelu(x, approximate=approximate)
    return jax.checkpoint(nn.gelu if approximate else _by_erf)(x)  # nn.gelu is the approximate one


def _by_erf(x: jax.Array) -> jax.Array:
    return 0.5 * x * (1 + lax.erf(x / math.sqrt(2)))
