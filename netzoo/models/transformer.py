"""The encoder-decoder Transformer (Vaswani et al., arXiv:1706.03762).

Shape contract of `transformer_base` (section 3 and Table 3 of the paper), for sentences of S tokens
and translations of T tokens:

    source     [batch, S]               int32 tokens, 0 is padding
    target     [batch, T]               int32 tokens, the translation shifted right by one
    encoder    [batch, S, 512]          6 blocks: self-attention, 8 heads; MLP, 2048 hidden
    decoder    [batch, T, 512]          6 blocks: causal self-attention; attention to the encoder's
                                        output; MLP
    pre_logits [batch, T, 512]
    logits     [batch, T, num_classes]  at each position, for the next token of the target

Every sublayer computes `LayerNorm(x + Dropout(Sublayer(x)))` (section 3.1), called "post-LN". With
`norm_first=True` it computes `x + Dropout(Sublayer(LayerNorm(x)))`, "pre-LN" (Xiong et al.,
arXiv:2002.04745), and each stack ends with a LayerNorm. One `nn.scan` runs the blocks of a stack,
so their parameters are stacked: `encoder/blocks/...` `[6, ...]`.

No position attends to the padding of the source. The padding of the target needs no mask: it
follows the sentence, and no position attends to later ones. The logits at padding have no meaning,
and the loss ignores them.

`netzoo.tasks.translation.beam_search` translates token by token, with several hypotheses per
sentence and a cache of keys and values:

    memory = model.apply(variables, source, train=False, method="encode")
    cache = model.apply(variables, memory, source != 0, max_length, beams, method="init_cache")
    logits, cache = model.apply(variables, tokens, cache, method="decode_step")
"""

import functools
import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from netzoo.errors import UserError
from netzoo.layers import (
    Dense,
    Dropout,
    KeyValue,
    Mlp,
    MultiHeadAttention,
    classifier_cross_entropy,
    endpoint,
    endpoints_wanted,
    matmul,
)
from netzoo.models.blocks import block_endpoints
from netzoo.models.registry import register
from netzoo.models.transformer_stack import BlockDetails, Stack


class Variant(NamedTuple):
    """One row of Table 3."""

    layers: int  # blocks of the encoder, and of the decoder
    width: int  # of the embeddings and every block's output
    mlp_dim: int  # width between the two layers of an MLP
    heads: int
    dropout_rate: float  # in the paper's training


VARIANTS = {
    "transformer_tiny": Variant(4, 128, 256, 4, 0.3),  # not in the paper, for small data
    "transformer_base": Variant(6, 512, 2048, 8, 0.1),
    "transformer_big": Variant(6, 1024, 4096, 16, 0.3),
}


class Cache(NamedTuple):
    """The state of the decoder between two tokens, a pytree with static shapes.

    The beams (hypotheses) of a sentence share one row of keys and values. `ancestors` masks the
    entries that do not belong to a beam's past, so that beams can be reordered without moving keys
    and values. The memory of the source is stored once per sentence.
    """

    # One per layer, `max_length * beams` long: the beams of the first position, then of the second,
    # and so on. They are not stacked, so that a loop over the tokens updates them in place if the
    # layers are unrolled.
    self_attention: tuple[KeyValue, ...]
    cross_attention: KeyValue  # of the encoder's output, of length S, stacked over the layers
    source_mask: jax.Array  # [batch, S], True where the source is not padding
    ancestors: jax.Array  # [batch, beams, max_length], the beam that stores each past position
    position: jax.Array  # tokens decoded so far, a scalar

    def reorder(self, parents: jax.Array) -> "Cache":
        """Return the cache in which beam k of a sentence continues beam `parents[sentence, k]`."""
        chosen = jnp.take_along_axis(self.ancestors, parents[:, :, None], axis=1)
        return self._replace(ancestors=chosen)

    def grow(self, max_length: int) -> "Cache":
        """Return the cache with room for `max_length` tokens. Longer caches make steps slower."""
        more = max_length - self.ancestors.shape[-1]

        def pad(x, axis, amount):
            return jnp.pad(x, [(0, amount if i == axis else 0) for i in range(x.ndim)])

        rows = more * self.ancestors.shape[1]
        memory = tuple(KeyValue(pad(k, 3, rows), pad(v, 2, rows)) for k, v in self.self_attention)
        return self._replace(self_attention=memory, ancestors=pad(self.ancestors, 2, more))


def sinusoidal_positions(length: int, width: int) -> np.ndarray:
    """Return the positional encoding `[length, width]` of section 3.5, in float64.

    Even columns are sines and odd columns are cosines, as in the paper. The authors' code puts all
    sines first, which permutes the weights but gives an equivalent network.
    """
    angles = np.arange(length)[:, None] / 10_000.0 ** (np.arange(0, width, 2) / width)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, width)


class Transformer(nn.Module):
    """The encoder-decoder Transformer.

    Attributes:
      variant: A `Variant`, or a tuple of its fields.
      num_classes: Size of the vocabulary, including padding; 37,000 in the paper.
      dropout_rate: Dropout rate of the embeddings and every sublayer's output (section 5.4).
      attention_dropout_rate: Dropout rate of the attention weights; 0 in the paper, the general
        dropout rate in `torch.nn.Transformer`.
      mlp_dropout_rate: Dropout rate inside the MLP; 0 in the paper.
      drop_path_rate: Drop path rate of the sublayers of each stack's last block; 0 in the paper.
        Earlier blocks have linearly lower rates.
      norm_first: Whether to normalise before every sublayer instead of after the sum.
      final_norm: Whether a LayerNorm ends each stack; None for the value of `norm_first`.
        `torch.nn.Transformer` always has it.
      share_embeddings: Whether source, target and (transposed) logits share one matrix (section
        3.4) instead of three.
      pad_id: The source token that is padding; no position attends to it.
      norm_epsilon: LayerNorm's epsilon: 1e-6 in the authors' code, 1e-5 in PyTorch.
      dtype: Compute dtype; parameters, softmax and logits are float32.
    """

    variant: Variant
    num_classes: int = 37_000
    dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.0
    mlp_dropout_rate: float = 0.0
    drop_path_rate: float = 0.0
    norm_first: bool = False
    final_norm: bool | None = None
    share_embeddings: bool = True
    pad_id: int = 0
    norm_epsilon: float = 1e-6
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        # Configurations pass a tuple.
        object.__setattr__(self, "variant", Variant(*self.variant))
        super().__post_init__()

    def setup(self) -> None:
        """Create the embeddings and the two stacks."""
        if self.num_classes < 1:
            raise UserError(
                f"num_classes is {self.num_classes}; expected the size of the vocabulary, at "
                "least 1"
            )
        v = self.variant
        wide = jnp.promote_types(self.dtype, jnp.float32)
        # With this initialisation, the embeddings times sqrt(width) have variance 1, and so do the
        # logits, which are products with the transposed matrix.
        init = nn.initializers.normal(v.width**-0.5)
        embed = functools.partial(
            nn.Embed, self.num_classes, v.width, dtype=wide, embedding_init=init
        )
        if self.share_embeddings:
            self.embedding = embed()
            self.source_embedding = self.target_embedding = self.embedding
        else:
            self.source_embedding, self.target_embedding = embed(), embed()
            self.logits = Dense(self.num_classes, dtype=wide, kernel_init=init, bias_init=None)
        self.embedding_dropout = Dropout(self.dropout_rate)
        block = {
            "attention": functools.partial(
                MultiHeadAttention, v.heads, self.attention_dropout_rate, self.dtype
            ),
            "mlp": functools.partial(Mlp, v.mlp_dim, nn.relu, self.mlp_dropout_rate, self.dtype),
            "norm": functools.partial(nn.LayerNorm, epsilon=self.norm_epsilon, dtype=self.dtype),
            "dropout_rate": self.dropout_rate,
            "norm_first": self.norm_first,
        }
        final_norm = self.norm_first if self.final_norm is None else self.final_norm
        self.encoder = Stack(v.layers, final_norm, block, self.drop_path_rate)
        self.decoder = Stack(v.layers, final_norm, block, self.drop_path_rate)

    def __call__(self, source: jax.Array, target: jax.Array, *, train: bool) -> jax.Array:
        """Map tokens `[batch, S]` and `[batch, T]` to float32 logits `[batch, T, num_classes]`.

        The target is shifted right: its first token is the start symbol, and the logits at each
        position predict the next token.

        Raises:
          UserError: The arguments are not two-dimensional arrays of integer tokens.
        """
        x, kernel = self._classified(self._features(source, target, train))
        with jax.named_scope("logits"):  # for `netzoo.models.summary`
            return matmul(x, kernel)

    def cross_entropy(
        self,
        source: jax.Array,
        target: jax.Array,
        labels: jax.Array,
        weights: jax.Array,
        smoothing: float = 0.0,
        *,
        train: bool,
    ) -> tuple[jax.Array, jax.Array]:
        """Return the loss of the logits of `__call__`; on CPU, it never holds all logits.

        `labels` are the tokens `[batch, T]` to predict, and `weights` their weights. See
        `netzoo.kernels.blockwise_cross_entropy.classifier_cross_entropy` for the results.
        """
        x, kernel = self._classified(self._features(source, target, train))
        return classifier_cross_entropy(x, kernel, labels, weights, smoothing)

    def encode(self, source: jax.Array, *, train: bool) -> jax.Array:
        """Map tokens `[batch, S]` to the encoder's output `[batch, S, width]`."""
        self._check_tokens("source", source)
        x = self._embed(self.source_embedding, source, self._positions(source.shape[1]), train)
        mask = (source != self.pad_id)[:, None, None, :]
        x, details = self.encoder(x, mask, train=train, details=endpoints_wanted(self))
        self._store_details("encoder", details)
        return x

    def decode(self, source: jax.Array, target: jax.Array, memory: jax.Array) -> jax.Array:
        """Return the logits of `__call__` in evaluation, with the encoder's output `memory`."""
        return matmul(*self._classified(self._decoded(source, target, memory, train=False)))

    def _features(self, source, target, train):
        return self._decoded(source, target, self.encode(source, train=train), train)

    def _decoded(self, source, target, memory, train):
        self._check_tokens("target", target)
        length = target.shape[1]
        x, details = self.decoder(
            self._embed(self.target_embedding, target, self._positions(length), train),
            jnp.tri(length, dtype=bool)[None, None],
            memory,
            (source != self.pad_id)[:, None, None, :],
            train=train,
            details=endpoints_wanted(self),
        )
        self._store_details("decoder", details)
        return endpoint(self, "pre_logits", x)

    def init_cache(
        self, memory: jax.Array, source_mask: jax.Array, max_length: int, beams: int = 1
    ) -> Cache:
        """Return the cache before the first token, with room for `max_length` tokens per beam.

        `memory` is the encoder's output `[batch, S, width]`; `source_mask` `[batch, S]` is True
        where the source is not padding.
        """
        # The target has no tokens, so only the keys and values of the memory are computed.
        batch, _, width = memory.shape
        nothing = jnp.zeros((batch, 0, width), self.dtype)
        _, details = self.decoder(nothing, None, memory, train=False, details=True)
        cross_attention = details["cross_attention"].memory
        heads = self.variant.heads
        value = jnp.zeros((batch, heads, max_length * beams, width // heads), self.dtype)
        empty = (KeyValue(value.swapaxes(2, 3), value),) * self.variant.layers
        ancestors = jnp.zeros((batch, beams, max_length), jnp.int32)
        return Cache(empty, cross_attention, source_mask, ancestors, jnp.zeros((), jnp.int32))

    def decode_step(self, tokens: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
        """Decode one more token; all steps together equal one `__call__`.

        It maps the last tokens `[batch, beams]` of all hypotheses, initially the start symbol, to
        the logits `[batch, beams, num_classes]` of the next tokens and the updated cache. The
        logits of a full cache have no meaning.
        """
        self._check_tokens("tokens", tokens, "beams")
        batch, beams, max_length = cache.ancestors.shape
        position, beam = cache.position, jnp.arange(beams, dtype=jnp.int32)
        ancestors = cache.ancestors.at[:, :, position].set(beam)
        past = jnp.arange(max_length) <= position
        mask = (ancestors[..., None] == beam) & past[:, None]
        positions = self._positions(max_length)[position]
        x, details = self.decoder(
            self._embed(self.target_embedding, tokens, positions, train=False),
            mask.reshape(batch, 1, beams, max_length * beams),
            cache.cross_attention,
            cache.source_mask[:, None, None, :],
            jax.tree.map(lambda *layers: jnp.stack(layers), *cache.self_attention),
            position * beams,
            train=False,
            details=True,
        )
        memory = tuple(
            jax.tree.map(lambda x, layer=layer: x[layer], details["attention"].memory)
            for layer in range(self.variant.layers)
        )
        cache = cache._replace(self_attention=memory, ancestors=ancestors, position=position + 1)
        return matmul(*self._classified(x)), cache

    def _embed(self, embedding, tokens, positions, train):
        x = embedding(tokens) * math.sqrt(self.variant.width)
        x = x + jax.lax.broadcast_to_rank(positions, x.ndim)
        return self.embedding_dropout(x.astype(self.dtype), train=train)

    def _positions(self, length: int) -> jax.Array:
        # A table computed in NumPy's float64: sines of large float32 angles would differ between
        # `__call__` and `decode_step`.
        wide = jnp.promote_types(self.dtype, jnp.float32)
        return jnp.asarray(sinusoidal_positions(length, self.variant.width), wide)

    def _classified(self, x):
        """Return the features and the kernel whose product is the logits, in the kernel's dtype."""
        if self.share_embeddings:
            kernel = self.embedding.embedding.T
        else:
            kernel, _ = self.logits.parameters(x.shape[-1])
        return x.astype(kernel.dtype), kernel

    def _store_details(self, stack: str, details: BlockDetails) -> None:
        outputs: dict[str, Any] = {
            "" if name == "output" else f"/{name}_weights": getattr(value, "weights", value)
            for name, value in details.items()
        }
        block_endpoints(self, stack, outputs)

    @staticmethod
    def _check_tokens(name: str, tokens: jax.Array, columns: str = "length") -> None:
        if tokens.ndim != 2 or not jnp.issubdtype(tokens.dtype, jnp.integer):
            raise UserError(
                f"{name} is {tokens.dtype}{list(tokens.shape)}; expected integer tokens "
                f"[batch, {columns}]"
            )


for _name, _variant in VARIANTS.items():
    register(
        _name,
        functools.partial(Transformer, variant=_variant, dropout_rate=_variant.dropout_rate),
        image_size=0,
    )
