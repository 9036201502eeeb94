"""The blocks of the Transformer (Vaswani et al., arXiv:1706.03762, section 3.1 and Figure 1)."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from netzoo.layers import Dropout, KeyValue
from netzoo.models.blocks import drop_path_factors, scan_blocks

# Intermediate values of a block: its output under "output", and the weights and memory of attention
# under "attention" and, in the decoder, "cross_attention".
BlockDetails = dict[str, Any]


class Block(nn.Module):
    """A block of the encoder, or of the decoder if there is a memory (Figure 1)."""

    attention: Callable[..., nn.Module]
    mlp: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    dropout_rate: float  # of every sublayer's output
    norm_first: bool  # before every sublayer instead of after the sum
    train: bool
    details: bool  # whether to return BlockDetails

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array | None,
        memory: jax.Array | KeyValue | None,
        memory_mask: jax.Array | None,
        cache: KeyValue | None,
        position: jax.Array | int,
        factors: jax.Array | None,
    ) -> tuple[jax.Array, BlockDetails]:
        """Map `[batch, length, width]` to the same shape; see `Stack`.

        If given, `factors` `[2 or 3, batch, 1, 1]` multiply the outputs of the sublayers.
        """
        details = {}

        def attend(name, y, *args, **options):
            layer = self.attention(name=name)
            attended = layer(y, *args, train=self.train, details=True, **options)
            details[name] = attended._replace(output=None)
            return attended.output

        def self_attention(y):
            return attend("attention", y, None, mask, cache=cache, position=position)

        def cross_attention(y):
            return attend("cross_attention", y, memory, memory_mask)

        def factor(sublayer):
            return None if factors is None else factors[sublayer]

        x = self._residual("attention_norm", self_attention, x, factor(0))
        if memory is not None:
            x = self._residual("cross_attention_norm", cross_attention, x, factor(1))
        mlp = functools.partial(self.mlp(name="mlp"), train=self.train)
        x = self._residual("mlp_norm", mlp, x, factor(-1))
        return x, {"output": x, **details} if self.details else {}

    def _residual(self, name: str, sublayer, x: jax.Array, factor: jax.Array | None) -> jax.Array:
        norm, dropout = self.norm(name=name), Dropout(self.dropout_rate)
        branch = dropout(sublayer(norm(x) if self.norm_first else x), train=self.train)
        x = x + (branch if factor is None else factor * branch)
        return x if self.norm_first else norm(x)


class Stack(nn.Module):
    """The scanned blocks of the encoder or decoder, and an optional norm."""

    depth: int
    final_norm: bool
    block: dict[str, Any]  # fields of Block
    drop_path_rate: float = 0.0  # of the last block's sublayers; see drop_path_rates

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
    ) -> tuple[jax.Array, BlockDetails]:
        """Run all blocks.

        Args:
          x: `[batch, length, width]`.
          mask: Booleans that broadcast to `[batch, heads, length, length]`; True where a position
            may be attended to.
          memory: The encoder's output `[batch, S, width]`, or its keys and values stacked over the
            blocks; None in the encoder.
          memory_mask: Booleans that broadcast to `[batch, heads, length, S]`.
          cache: Keys and values of the self-attention, stacked over the blocks.
          position: Position in the cache of the first key and value of `x`.
          train: Whether to apply dropout and drop path.
          details: Whether to also return the stacked details of the blocks.
        """
        every = nn.broadcast
        in_axes = (every, 0 if isinstance(memory, KeyValue) else every, every, 0, every, 0)
        blocks = scan_blocks(Block, self.depth, in_axes)(
            **self.block, train=train, details=details, name="blocks"
        )
        sublayers = 2 if memory is None else 3
        factors = drop_path_factors(
            self, self.drop_path_rate, self.depth, sublayers, x, train=train
        )
        x, block_details = blocks(x, mask, memory, memory_mask, cache, position, factors)
        return self.block["norm"](name="norm")(x) if self.final_norm else x, block_details
