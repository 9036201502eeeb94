"""The Transformer, an encoder and a decoder made of attention (Vaswani et al., arXiv:1706.03762).

Shape contract of `transformer_base` (section 3 and Table 3 of the paper), for sentences of S tokens
and translations of T tokens:

    source     [batch, S]               int32 tokens, 0 is padding
    target     [batch, T]               int32 tokens, the translation shifted right by one
    encoder    [batch, S, 512]          6 blocks: self-attention, 8 heads; MLP, 2048 hidden
    decoder    [batch, T, 512]          6 blocks: causal self-attention; attention to the encoder's
                                        output; MLP
    pre_logits [batch, T, 512]
    logits     [batch, T, num_classes]  for the token that follows each of the target's

Every sublayer is followed by `LayerNorm(x + Dropout(Sublayer(x)))` (section 3.1), "post-LN"; with
`norm_first=True` it is `x + Dropout(Sublayer(LayerNorm(x)))`, "pre-LN" (Xiong et al.,
arXiv:2002.04745), and each stack ends with a LayerNorm. The blocks of a stack are one `nn.scan`:
their parameters are stacked, `encoder/blocks/...` `[6, ...]`, and compiling takes as long as one.

No position sees the padding of the source. The padding of the target needs no mask: it follows the
sentence, and no position sees a later one. Its own logits mean nothing; a loss leaves them out.

A translation is made token by token from a cache of what attention looks at, several hypotheses of
every sentence at once; `netzoo.tasks.translation.beam_search` does so:

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
    width: int  # of the embeddings and of every block's output
    mlp_dim: int  # width between the two layers of an MLP
    heads: int
    dropout_rate: float  # that the paper trains it with


VARIANTS = {
    "transformer_tiny": Variant(4, 128, 256, 4, 0.3),  # not the paper's: for small data
    "transformer_base": Variant(6, 512, 2048, 8, 0.1),
    "transformer_big": Variant(6, 1024, 4096, 16, 0.3),
}


class Cache(NamedTuple):
    """What the decoder has to remember between two tokens; a pytree of static shapes.

    The hypotheses of a sentence, its beams, share one row of attention: a beam finds its past by
    the mask that `ancestors` gives, so that beams can be exchanged without moving keys and values,
    and the memory of the source is stored once.
    """

    # A layer each, `max_length * beams` long: the beams of the first position, of the second, and
    # so on. Not stacked: where the layers are written out, a loop over the tokens then writes in
    # place.
    self_attention: tuple[KeyValue, ...]
    cross_attention: KeyValue  # of the encoder's output, S long, stacked over the layers
    source_mask: jax.Array  # [batch, S], True where the source is not padding
    ancestors: jax.Array  # [batch, beams, max_length], the beam that holds each past position
    position: jax.Array  # tokens decoded so far, a scalar

    def reorder(self, parents: jax.Array) -> "Cache":
        """Returns the cache where beam k of a sentence goes on from beam `parents[sentence, k]`."""
        chosen = jnp.take_along_axis(self.ancestors, parents[:, :, None], axis=1)
        return self._replace(ancestors=chosen)

    def grow(self, max_length: int) -> "Cache":
        """Returns the cache with room for more tokens; the cost of a step grows with the room."""
        more = max_length - self.ancestors.shape[-1]

        def pad(x, axis, amount):
            return jnp.pad(x, [(0, amount if i == axis else 0) for i in range(x.ndim)])

        rows = more * self.ancestors.shape[1]
        memory = tuple(KeyValue(pad(k, 3, rows), pad(v, 2, rows)) for k, v in self.self_attention)
        return self._replace(self_attention=memory, ancestors=pad(self.ancestors, 2, more))


def sinusoidal_positions(length: int, width: int) -> np.ndarray:
    """Returns the positional encoding `[length, width]` of section 3.5, in float64.

    Sines in the even and cosines in the odd columns, as in the paper. The authors' code has all the
    sines first: the same to a network that is trained with it, another to its weights.
    """
    angles = np.arange(length)[:, None] / 10_000.0 ** (np.arange(0, width, 2) / width)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, width)


class Transformer(nn.Module):
    """The encoder-decoder Transformer.

    Attributes:
      variant: Depth and widths, or the numbers of a `Variant` in its order.
      num_classes: Size of the vocabulary, padding included. The paper's shared one has 37,000
        tokens.
      dropout_rate: Dropout of the embeddings and of every sublayer's output (section 5.4).
      attention_dropout_rate: Dropout of the attention weights; the paper has none,
        `torch.nn.Transformer` as much as elsewhere.
      mlp_dropout_rate: Dropout inside the MLP; the paper has none here either.
      norm_first: Normalise before every sublayer and not after the sum.
      final_norm: Whether a LayerNorm ends each stack; None for `norm_first`. `torch.nn.Transformer`
        has it in any case.
      share_embeddings: One matrix for source, target and, transposed, the logits (section 3.4).
        Otherwise three.
      pad_id: The token of the source that no position sees.
      norm_epsilon: LayerNorm's epsilon: 1e-6 in the authors' code, 1e-5 in PyTorch.
      dtype: Compute type; parameters, softmax and logits are float32.
    """

    variant: Variant
    num_classes: int = 37_000
    dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.0
    mlp_dropout_rate: float = 0.0
    norm_first: bool = False
    final_norm: bool | None = None
    share_embeddings: bool = True
    pad_id: int = 0
    norm_epsilon: float = 1e-6
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        # A configuration gives a tuple.
        object.__setattr__(self, "variant", Variant(*self.variant))
        super().__post_init__()

    def setup(self) -> None:
        """Makes the embeddings and the two stacks."""
        if self.num_classes < 1:
            raise UserError(
                f"num_classes is {self.num_classes}; for the Transformer it is the size of the "
                "vocabulary and at least 1"
            )
        v = self.variant
        wide = jnp.promote_types(self.dtype, jnp.float32)
        # The embeddings, times sqrt(width), and the logits, by the transposed matrix, begin with
        # variance 1.
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
        self.encoder = Stack(v.layers, final_norm, block)
        self.decoder = Stack(v.layers, final_norm, block)

    def __call__(self, source: jax.Array, target: jax.Array, *, train: bool) -> jax.Array:
        """Maps tokens `[batch, S]` and `[batch, T]` to float32 logits `[batch, T, num_classes]`.

        The target is shifted right: its first token is the start symbol, and the logits at a
        position are those of the next token.

        Raises:
          UserError: The arguments are not tokens.
        """
        return matmul(*self._classified(self._features(source, target, train)))

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
        """Returns the loss of `__call__`'s logits, on CPU without ever holding all of them.

        Labels are the tokens `[batch, T]` to be predicted, each with its weight. The results are
        those of `netzoo.kernels.blockwise_cross_entropy.classifier_cross_entropy`.
        """
        x, kernel = self._classified(self._features(source, target, train))
        return classifier_cross_entropy(x, kernel, labels, weights, smoothing)

    def encode(self, source: jax.Array, *, train: bool) -> jax.Array:
        """Maps tokens `[batch, S]` to the encoder's output `[batch, S, width]`."""
        self._check_tokens("source", source)
        x = self._embed(self.source_embedding, source, self._positions(source.shape[1]), train)
        mask = (source != self.pad_id)[:, None, None, :]
        x, details = self.encoder(x, mask, train=train, details=endpoints_wanted(self))
        self._store_details("encoder", details)
        return x

    def _features(self, source, target, train):
        memory = self.encode(source, train=train)
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
        """Returns the cache before the first token, with room for `max_length` tokens a beam.

        `memory` is the encoder's output `[batch, S, width]`; `source_mask` `[batch, S]` is True
        where the source is not padding.
        """
        # A target without tokens: only the keys and values of the memory are computed.
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
        """Decodes one token more; together the steps give what `__call__` gives at once.

        Maps the last tokens `[batch, beams]` of all hypotheses, first the start symbol, to the
        logits `[batch, beams, num_classes]` of the next, and to the cache with this token. A full
        cache gives meaningless logits.
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
        x = embedding(tokens) * math.sqrt(self.variant.width) + positions
        return self.embedding_dropout(x.astype(self.dtype), train=train)

    def _positions(self, length: int) -> jax.Array:
        # From NumPy's float64, and from a table in every case: sines of large float32 angles would
        # differ between the two ways of decoding.
        wide = jnp.promote_types(self.dtype, jnp.float32)
        return jnp.asarray(sinusoidal_positions(length, self.variant.width), wide)

    def _classified(self, x):
        """Returns the two factors of the logits, in their dtype."""
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
