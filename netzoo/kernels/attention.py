"""Attention of cuDNN, which stores no attention weights for the backward pass."""

import jax
import jax.numpy as jnp

from netzoo.kernels.switch import backend

_MAX_SIZE = 128  # of a head, on every GPU that the backend "cuda" stands for


def cudnn_attends(query: jax.Array) -> bool:
    """Return whether `cudnn_attention` supports these heads in the program being traced."""
    size = query.shape[-1]
    half = query.dtype in (jnp.bfloat16, jnp.float16)
    return backend() == "cuda" and half and size % 8 == 0 and size <= _MAX_SIZE


def cudnn_attention(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """Attend from every query to all keys, with weights in float32.

    Args:
      query: `[batch, heads, length, size]`.
      key: `[batch, heads, memory_length, size]`.
      value: `[batch, heads, memory_length, size]`.

    Returns:
      `[batch, heads, length, size]`.
    """
    batch, _, length, _ = query.shape
    memory_length = key.shape[2]
    query, key, value = (_even(x.swapaxes(1, 2)) for x in (query, key, value))
    padded = bool(length % 2 or memory_length % 2)
    attended = jax.nn.dot_product_attention(
        query,
        key,
        value,
        query_seq_lengths=jnp.full(batch, length, jnp.int32) if padded else None,
        key_value_seq_lengths=jnp.full(batch, memory_length, jnp.int32) if padded else None,
        implementation="cudnn",
    )
    return attended[:, :length].swapaxes(1, 2)


def _even(x: jax.Array) -> jax.Array:
    """Pad axis 1 to an even length: JAX 0.10 refuses gradients of odd lengths (ViT: 197)."""
    return jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0)))
