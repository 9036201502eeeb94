"""Multi-head attention (Vaswani et al., arXiv:1706.03762, section 3.2.2).

The XLA implementation of `jax.nn.dot_product_attention` is not used. That implementation has no
dropout, does not return the weights, computes the softmax in float32 even in a float64 network, and
runs the same products at the same speed. On GPUs, the cuDNN implementation of the function is used
where it computes the same.

The attention weights are the largest arrays of an encoder. On accelerators, a training step stores
none of them: the backward pass computes them again from queries and keys, as FlashAttention does
(Dao et al., arXiv:2205.14135, section 3.1). For 197 tokens, this adds 0.7 % to the operations of a
ViT-B/16.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from netzoo.errors import UserError
from netzoo.kernels.attention import cudnn_attends, cudnn_attention
from netzoo.kernels.matmul import affine
from netzoo.kernels.switch import backend
from netzoo.layers.dense import Dense
from netzoo.layers.dropout import Dropout

KERNEL_INIT = nn.initializers.xavier_uniform()
_ONCE = contextvars.ContextVar("attention_weights_once", default=False)


@contextlib.contextmanager
def attention_weights_once() -> Iterator[None]:
    """Compute the weights of each layer called inside the `with` block only once.

    Code that computes whole blocks again uses this context. Otherwise, the weights would be
    computed three times.
    """
    token = _ONCE.set(True)
    try:
        yield
    finally:
        _ONCE.reset(token)


class KeyValue(NamedTuple):
    """Projected keys and values of the positions that attention reads.

    The layout is that of the products: heads first, keys transposed. A cache in another layout
    would be transposed for each token.
    """

    key: jax.Array  # [batch, heads, width / heads, memory_length]
    value: jax.Array  # [batch, heads, memory_length, width / heads]


class Attention(NamedTuple):
    """The results of attention."""

    output: jax.Array  # [batch, length, width]
    weights: jax.Array  # [batch, heads, length, memory_length], float32 or wider, without dropout
    memory: KeyValue | None  # keys and values of the memory; None if the caller passed them


class MultiHeadAttention(nn.Module):
    """Attention with separate projections `query`, `key`, `value` and `out`, each with a bias.

    Attributes:
      num_heads: Number of heads; it must divide the width.
      dropout_rate: Dropout rate of the attention weights.
      dtype: Compute dtype; parameters and softmax are float32.
    """

    num_heads: int
    dropout_rate: float = 0.0
    dtype: jnp.dtype = jnp.float32

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
        """Attend from every position of `x` to the positions of `memory`, or of `x` itself.

        Args:
          x: `[batch, length, width]`.
          memory: `[batch, memory_length, width]`, or its keys and values from an earlier call; None
            for self-attention.
          mask: Booleans that broadcast to `[batch, heads, length, memory_length]`; True where a
            position may be attended to.
          train: Whether to apply dropout.
          cache: Keys and values of a longer memory. Those of `memory` are written into it, and
            attention reads all of it.
          position: Position in the cache of the first key and value written.
          details: Whether to return `Attention` rather than only its output.

        Returns:
          `[batch, length, width]`, or `Attention`.

        Raises:
          UserError: The number of heads does not divide the width.
        """
        width = x.shape[-1]
        if width % self.num_heads:
            raise UserError(
                f"num_heads is {self.num_heads}, which does not divide the width {width}; use a "
                f"divisor of {width}"
            )
        if memory is None:
            query, key, value = self._project(x, "query", "key", "value")
        elif isinstance(memory, KeyValue):
            (query,), (key, value) = self._project(x, "query"), memory
        else:
            (query,) = self._project(x, "query")
            key, value = self._project(memory, "key", "value")
        given = isinstance(memory, KeyValue)
        plain = mask is None and cache is None and not (given or details)
        if plain and cudnn_attends(query) and not (train and self.dropout_rate):
            return self._output(cudnn_attention(query, key, value))
        key = key if given else key.swapaxes(2, 3)
        if cache is not None:
            put = jax.lax.dynamic_update_slice_in_dim
            key = put(cache.key, key, position, axis=3)
            value = put(cache.value, value, position, axis=2)
        context, weights = self._attend(query, KeyValue(key, value), mask, train)
        output = self._output(context)
        if not details:
            return output
        return Attention(output, weights, None if given else KeyValue(key, value))

    def _attend(
        self, query: jax.Array, memory: KeyValue, mask: jax.Array | None, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Return the heads `[batch, heads, length, size]`, and the weights without dropout."""

        def attend(dropout, query, memory, mask):
            weights = attention_weights(query, memory.key, mask)
            kept = dropout(weights, train=train).astype(memory.value.dtype)
            return jnp.einsum("bhqk,bhkd->bhqd", kept, memory.value), weights

        if train and backend() != "cpu" and not _ONCE.get():
            # The loop over the blocks delays the second computation, so it needs no barrier.
            attend = nn.remat(attend, prevent_cse=False)
        return attend(Dropout(self.dropout_rate), query, memory, mask)

    def _output(self, context: jax.Array) -> jax.Array:
        """Map heads `[batch, heads, length, size]` to `[batch, length, width]`."""
        batch, heads, length, size = context.shape
        joined = context.swapaxes(1, 2).reshape(batch, length, heads * size)
        return Dense(heads * size, self.dtype, KERNEL_INIT, name="out")(joined)

    def _project(self, x: jax.Array, *names: str) -> list[jax.Array]:
        """Project `[batch, length, width]` to `[batch, heads, length, width / heads]` per name."""
        width = x.shape[-1]
        heads = (*x.shape[:-1], self.num_heads, width // self.num_heads)
        layers = [
            Dense(width, self.dtype, KERNEL_INIT, name=name).parameters(width) for name in names
        ]
        projected = affine(x.astype(self.dtype), layers)
        return [part.reshape(heads).swapaxes(1, 2) for part in projected]


def attention_weights(query: jax.Array, key: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Return the softmax of the scaled products, `[batch, heads, length, memory_length]`.

    The query is `[batch, heads, length, size]` and the key `[batch, heads, size, memory_length]`.
    """
    wide = jnp.promote_types(query.dtype, jnp.float32)
    query = query * query.shape[-1] ** -0.5
    scores = jnp.einsum("bhqd,bhdk->bhqk", query, key, preferred_element_type=wide)
    if mask is not None:
        # Finite, so that a fully masked position has uniform weights instead of NaN.
        scores = jnp.where(mask, scores, jnp.finfo(wide).min)
    return jax.nn.softmax(scores)
