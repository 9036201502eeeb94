"""The blocks of the Transformer (Vaswani et al., arXiv:1706.03762, section 3.1 and Figure 1)."""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from netzoo.layers import Dropout, KeyValue
from netzoo.models.blocks import scan_unroll


class BlockDetails(NamedTuple):
    """What a block computes on the way; without a cross-attention in the encoder.

    Attributes:
      output: Output of the block, `[batch, length, width]`.
      attention: Weights `[batch, heads, length, length]`.
      cross_attention: Weights `[batch, heads, T, S]`.
      memory: Keys and values of the self-attention.
      cross_memory: Keys and values of the cross-attention, unless they were given as such.
    """

    output: jax.Array
    attention: jax.Array
    cross_attention: jax.Array | None
    memory: KeyValue
    cross_memory: KeyValue | None


class Block(nn.Module):
    """A block of the encoder, or of the decoder where there is a memory (Figure 1)."""

    attention: type[nn.Module]
    mlp: type[nn.Module]
    norm: type[nn.Module]
    dropout_rate: float
    norm_first: bool
    train: bool
    details: bool

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array | None,
        memory: jax.Array | KeyValue | None,
        memory_mask: jax.Array | None,
        cache: KeyValue | None,
        position: jax.Array | None,
    ) -> tuple[jax.Array, BlockDetails | None]:
        """Maps `[batch, length, width]` to the same shape; see `Stack`."""
        attentions = {}

        def attend(name, y, *args, **options):
            layer = self.attention(name=name)
            attentions[name] = layer(y, *args, train=self.train, details=True, **options)
            return attentions[name].output

        def self_attention(y):
            return attend("attention", y, None, mask, cache=cache, position=position)

        def cross_attention(y):
            return attend("cross_attention", y, memory, memory_mask)

        x = self._residual("attention_norm", self_attention, x)
        if memory is not None:
            x = self._residual("cross_attention_norm", cross_attention, x)
        x = self._residual("mlp_norm", functools.partial(self.mlp(name="mlp"), train=self.train), x)
        if not self.details:
            return x, None
        own, cross = attentions["attention"], attentions.get("cross_attention")
        if cross is None:
            return x, BlockDetails(x, own.weights, None, own.memory, None)
        return x, BlockDetails(x, own.weights, cross.weights, own.memory, cross.memory)

    def _residual(self, name: str, sublayer, x: jax.Array) -> jax.Array:
        norm, dropout = self.norm(name=name), Dropout(self.dropout_rate)
        if self.norm_first:
            return x + dropout(sublayer(norm(x)), train=self.train)
        return norm(x + dropout(sublayer(x), train=self.train))


class Stack(nn.Module):
    """The blocks of the encoder or decoder, scanned, and the norm that may follow."""

    layers: int
    final_norm: bool
    block: dict[str, Any]

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array | None = None,
        memory: jax.Array | KeyValue | None = None,
        memory_mask: jax.Array | None = None,
        cache: KeyValue | None = None,
        position: jax.Array | int = 0,
        *,
        train: bool,
        details: bool,
    ) -> tuple[jax.Array, BlockDetails | None]:
        """Runs all blocks.

        Args:
          x: `[batch, length, width]`.
          mask: Booleans that broadcast to `[batch, heads, length, length]`, True where a position
            may look.
          memory: What the decoder looks at, `[batch, S, width]`, or its keys and values stacked
            over the layers; None in the encoder.
          memory_mask: Booleans that broadcast to `[batch, heads, length, S]`.
          cache: Keys and values of the self-attention, stacked over the layers.
          position: Where the keys and values of `x` go in the cache.
          train: Whether dropout acts.
          details: Whether to return `BlockDetails` too, stacked over the layers.
        """
        blocks = nn.scan(
            Block,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=(
                nn.broadcast,
                0 if isinstance(memory, KeyValue) else nn.broadcast,
                nn.broadcast,
                0,
                nn.broadcast,
            ),
            length=self.layers,
            unroll=scan_unroll(self.layers),
        )(**self.block, train=train, details=details, name="blocks")
        x, block_details = blocks(x, mask, memory, memory_mask, cache, position)
        return self.block["norm"](name="norm")(x) if self.final_norm else x, block_details
