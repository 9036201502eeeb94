"""Multi-head attention (Vaswani et al., arXiv:1706.03762, section 3.2.2).

Written out rather than taken from `jax.nn.dot_product_attention`: that one has no dropout, does not
give the weights, and takes the softmax in float32 even where the network computes in float64. What
it runs by default is the same few products, at the same speed.
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from netzoo.errors import UserError


class KeyValue(NamedTuple):
    """Projected keys and values of the positions that attention looks at.

    Attributes:
      key: `[batch, memory_length, heads, width / heads]`.
      value: Likewise.
    """

    key: jax.Array
    value: jax.Array


class Attention(NamedTuple):
    """What attention computes.

    Attributes:
      output: `[batch, length, width]`.
      weights: `[batch, heads, length, memory_length]`, float32 or wider, without dropout.
      memory: Keys and values that were looked at; None where they were given as such.
    """

    output: jax.Array
    weights: jax.Array
    memory: KeyValue | None


class MultiHeadAttention(nn.Module):
    """Attention with separate projections `query`, `key`, `value` and `out`, each with a bias.

    Attributes:
      num_heads: Heads that the width is divided into.
      dropout_rate: Dropout of the attention weights.
      dtype: Compute type; parameters stay float32, the softmax is taken in float32.
      kernel_init: Initializer of the four kernels.
    """

    num_heads: int
    dropout_rate: float = 0.0
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        memory: jax.Array | KeyValue | None = None,
        mask: jax.Array | None = None,
        *,
        train: bool,
        cache: KeyValue | None = None,
        position: jax.Array | int = 0,
        details: bool = False,
    ) -> jax.Array | Attention:
        """Lets every position of `x` look at the positions of `memory`, or of `x` itself.

        Args:
          x: `[batch, length, width]`.
          memory: `[batch, memory_length, width]`, its keys and values from an earlier call, or None
            for self-attention.
          mask: Booleans that broadcast to `[batch, heads, length, memory_length]`; True where a
            position may be looked at.
          train: Whether dropout acts.
          cache: Keys and values of a longer memory, into which those of `memory` are written before
            all of it is looked at.
          position: Where in the cache they are written.
          details: Whether to return `Attention` instead of its output alone.

        Returns:
          `[batch, length, width]`, or `Attention`.

        Raises:
          UserError: The heads do not divide the width.
        """
        width = x.shape[-1]
        if width % self.num_heads:
            raise UserError(f"{self.num_heads} heads do not divide a width of {width}")
        given = isinstance(memory, KeyValue)
        query = self._project("query", x)
        if not given:
            source = x if memory is None else memory
            memory = KeyValue(self._project("key", source), self._project("value", source))
        if cache is not None:
            memory = KeyValue(
                *(
                    jax.lax.dynamic_update_slice_in_dim(old, new, position, axis=1)
                    for old, new in zip(cache, memory, strict=True)
                )
            )
        weights = _attention_weights(query, memory.key, mask)
        dropped = nn.Dropout(self.dropout_rate, deterministic=not train)(weights)
        context = jnp.einsum("bhqk,bkhd->bqhd", dropped.astype(self.dtype), memory.value)
        output = self._dense("out", width)(context.reshape(*x.shape[:-1], width))
        return Attention(output, weights, None if given else memory) if details else output

    def _dense(self, name: str, features: int) -> nn.Dense:
        return nn.Dense(features, kernel_init=self.kernel_init, dtype=self.dtype, name=name)

    def _project(self, name: str, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        y = self._dense(name, width)(x)
        return y.reshape(*x.shape[:-1], self.num_heads, width // self.num_heads)


def _attention_weights(query: jax.Array, key: jax.Array, mask: jax.Array | None) -> jax.Array:
    wide = jnp.promote_types(query.dtype, jnp.float32)
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=wide)
    scores = scores / math.sqrt(query.shape[-1])
    if mask is not None:
        # Finite, so that a position with nothing to look at has uniform weights instead of NaN.
        scores = jnp.where(mask, scores, jnp.finfo(wide).min)
    return jax.nn.softmax(scores)
