"""Dropout (Srivastava et al. 2014) with cheap random numbers.

`flax.linen.Dropout` draws from JAX's threefry generator. On CPU, this passes over memory five times
for each mask and takes a quarter of a Vision Transformer's training step. A mask needs no
cryptographic random numbers, so the key and the position of every element are hashed instead. The
hash fuses with the multiplication that follows, and the gradient recomputes it instead of keeping
the mask.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax


class Dropout(nn.Module):
    """Sets random elements to 0 and scales up the others, as `flax.linen.Dropout` does.

    The mask depends only on the position and the key of the `dropout` stream, so it is the same on
    any number of devices.

    Attributes:
      rate: Probability of dropping an element.
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map an array to the same shape; return it unchanged unless `train`."""
        if not train or self.rate == 0:
            return x
        if self.rate == 1:
            return jnp.zeros_like(x)
        words = jax.random.bits(self.make_rng("dropout"), (2,), jnp.uint32)
        return jax.checkpoint(lambda x, words: _drop(x, words, self.rate))(x, words)


class DropPath(nn.Module):
    """Drops the residual branch of whole examples in training and scales up the others.

    This is also called stochastic depth (Huang et al., arXiv:1603.09382).

    Attributes:
      rate: Probability of dropping the branch of an example, in [0, 1).
    """

    rate: float

    @nn.compact
    def __call__(self, branch: jax.Array, *, train: bool) -> jax.Array:
        """Map a residual branch `[batch, ...]` to the same shape, using the `dropout` stream."""
        dims = tuple(range(1, branch.ndim))
        return nn.Dropout(self.rate, broadcast_dims=dims, deterministic=not train)(branch)


def _drop(x: jax.Array, words: jax.Array, rate: float) -> jax.Array:
    strides = [math.prod(x.shape[axis + 1 :]) for axis in range(x.ndim)]
    position = sum(
        lax.broadcasted_iota(jnp.uint32, x.shape, axis) * jnp.uint32(stride % 2**32)
        for axis, stride in enumerate(strides)
    )
    random = _hash(_hash(position ^ words[0]) ^ words[1])
    keep = random >= jnp.uint32(round(rate * 2**32))
    return jnp.where(keep, x / (1 - rate), 0)


def _hash(x: jax.Array) -> jax.Array:
    """Mix 32 bits into 32 others: the finalizer of MurmurHash3 (Appleby 2011)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
