"""Beam search for the most probable translation (Wu et al., arXiv:1609.08144, section 7).

The beam of a sentence holds its `beam_size` most probable hypotheses. Ended hypotheses stay until
more probable ones replace them. A beam size of 1 is greedy decoding. At the end, the hypotheses are
ranked by their score (equation 14 of the paper without coverage): the log probability over
`((5 + length) / 6) ** length_penalty`, where the length includes the end symbol.
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from chex import ArrayTree

from netzoo.errors import UserError
from netzoo.models.transformer import Cache
from netzoo.tasks.translation.vocabulary import END, START

BLOCK = 128  # tokens per block; the first pass reads only the maxima of blocks
SHORTEST_CACHE = 16  # in tokens; each further length compiles one more loop


class SearchOptions(NamedTuple):
    """Options of `beam_search`; the defaults are those of arXiv:1706.03762, section 6.1."""

    max_length: int  # maximum tokens of a translation, including the end symbol
    beam_size: int = 4  # hypotheses per sentence; 1 is greedy decoding
    length_penalty: float = 0.6  # 0 ranks by probability only, which favours short translations
    n_best: int = 1  # number of finished hypotheses; further ones may be unfinished
    start: int = START  # the initial token; neither it nor padding is ever produced
    end: int = END  # the token that ends a translation

    def score(self, log_probs: jax.Array, length: jax.Array | int) -> jax.Array:
        """Return the scores of hypotheses with `length` tokens."""
        return log_probs / ((5.0 + length) / 6.0) ** self.length_penalty


class Beams(NamedTuple):
    """The hypotheses of every sentence: first the ended, then the unfinished, best first.

    An empty hypothesis has score -inf if there are fewer sequences than `beam_size`, and 0 if the
    source is only padding.
    """

    tokens: jax.Array  # int32 [batch, beam_size, max_length]: translation, end symbol, padding
    scores: jax.Array  # float32 [batch, beam_size], log probability (nats) over length penalty
    lengths: jax.Array  # int32 [batch, beam_size], in tokens, including the end symbol
    ended: jax.Array  # booleans [batch, beam_size]


class _State(NamedTuple):
    """Unfinished beams, with log probabilities as scores, and their last tokens."""

    cache: Cache
    last: jax.Array  # [batch, beam_size]
    beams: Beams


def beam_search(
    model: nn.Module, variables: ArrayTree, source: jax.Array, options: SearchOptions
) -> Beams:
    """Translate sentences with a Transformer; `model` and `options` are static under `jax.jit`.

    A sentence is finished when no unfinished hypothesis of any length can become one of the
    `n_best` ended ones. It then no longer changes, whatever happens to the other sentences of the
    batch. `source` holds tokens `[batch, S]`, padded at the end. A row of padding is finished at
    once.

    Raises:
      UserError: An option is out of range.
    """
    max_length, beam_size, length_penalty, n_best, *_ = options
    if not (max_length >= 1 <= n_best <= beam_size and length_penalty >= 0):
        raise UserError(
            "expected max_length and beam_size of at least 1, n_best from 1 to beam_size and "
            f"length_penalty of at least 0, got {options}"
        )

    # Few translations reach the maximum length, and steps are slower with a longer cache. Each
    # cache is therefore about twice as long as the previous one.
    lengths = [options.max_length]
    while lengths[0] > 2 * SHORTEST_CACHE:
        lengths.insert(0, -(-lengths[0] // 2))
    state = _begin(model, variables, source, options)
    step = functools.partial(_advance, model, variables, options)
    for length in lengths:

        def unfinished(state, length=length):
            return (state.cache.position < length) & ~_finished(state, options).all()

        state = state._replace(cache=state.cache.grow(length))
        state = jax.lax.while_loop(unfinished, step, state)
    return _ranked(state.beams, model.pad_id, options)


def _begin(
    model: nn.Module, variables: ArrayTree, source: jax.Array, options: SearchOptions
) -> _State:
    """Return the state before the first token."""
    memory = model.apply(variables, source, train=False, method="encode")
    mask = source != model.pad_id
    cache: Any = model.apply(variables, memory, mask, 0, options.beam_size, method="init_cache")
    shape = (source.shape[0], options.beam_size)
    # All hypotheses start equal, so only one may continue; otherwise the beam would hold
    # duplicates.
    first = jnp.where(jnp.arange(options.beam_size) == 0, 0.0, -jnp.inf).astype(jnp.float32)
    beams = Beams(
        tokens=jnp.full((*shape, options.max_length), model.pad_id, jnp.int32),
        scores=jnp.broadcast_to(first, shape),
        lengths=jnp.zeros(shape, jnp.int32),
        ended=jnp.zeros(shape, bool),
    )
    return _State(cache, jnp.full(shape, options.start, jnp.int32), beams)


def _finished(state: _State, options: SearchOptions) -> jax.Array:
    """Return whether each sentence is finished or padding, booleans `[batch]`."""
    _, log_probs, lengths, ended = state.beams
    scores = jnp.where(ended, options.score(log_probs, lengths), -jnp.inf)
    best, _ = jax.lax.top_k(scores, options.n_best)
    # Log probabilities only decrease, and the penalty is largest at the maximum length.
    hopes = options.score(log_probs, options.max_length)
    hope = jnp.where(ended, -jnp.inf, hopes).max(axis=1)
    return (best[:, -1] >= hope) | ~state.cache.source_mask.any(axis=1)


def _advance(
    model: nn.Module, variables: ArrayTree, options: SearchOptions, state: _State
) -> _State:
    """Replace hypotheses of unfinished sentences by their most probable continuations."""
    decoded: Any = model.apply(variables, state.last, state.cache, method="decode_step")
    (logits, cache), beams, pad = decoded, state.beams, model.pad_id
    stays = beams.ended | _finished(state, options)[:, None]
    batch, size = stays.shape
    log_probs, candidates = most_probable(logits.astype(jnp.float32), size, (pad, options.start))
    alone = jnp.where(jnp.arange(log_probs.shape[-1]) == 0, 0.0, -jnp.inf)
    log_probs = jnp.where(stays[..., None], alone, log_probs)
    candidates = jnp.where(stays[..., None], pad, candidates).reshape(batch, -1)
    log_probs = (beams.scores[..., None] + log_probs).reshape(batch, -1)
    log_probs, chosen = jax.lax.top_k(log_probs, size)
    last = jnp.take_along_axis(candidates, chosen, axis=1)
    if size > 1:
        parents = chosen // (candidates.shape[1] // size)
        cache, (beams, stays) = cache.reorder(parents), _reorder((beams, stays), parents)
    beams = Beams(
        tokens=beams.tokens.at[:, :, cache.position - 1].set(last),
        scores=log_probs,
        lengths=jnp.where(stays, beams.lengths, beams.lengths + 1),
        ended=(beams.ended | (last == options.end)) & (log_probs > -jnp.inf),
    )
    return _State(cache, last, beams)


def _reorder(tree: ArrayTree, order: jax.Array) -> ArrayTree:
    """Select the hypotheses `order`, `[batch, beam_size]`, of arrays `[batch, beam_size, ...]`."""

    def take(x):
        return jnp.take_along_axis(x, order.reshape(*order.shape, *[1] * (x.ndim - 2)), axis=1)

    return jax.tree.map(take, tree)


def most_probable(
    logits: jax.Array, count: int, forbidden: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """Return log probabilities `[..., count]` (nats) of the most probable tokens, and the tokens.

    It searches only the blocks of the vocabulary with the largest maxima, because `top_k` of a
    whole vocabulary takes longer than computing its logits. Ties go to the lower token.

    Args:
      logits: `[..., classes]`, float32.
      count: Number of tokens, at most `classes`.
      forbidden: Tokens that count in the softmax, but get log probability -inf.
    """
    classes = logits.shape[-1]
    largest = logits.max(-1, keepdims=True)
    log_sum = jnp.log(jnp.exp(logits - largest).sum(-1, keepdims=True))
    allowed = (jnp.arange(classes)[:, None] != jnp.array(forbidden)).all(-1)
    logits = jnp.where(allowed, logits, -jnp.inf)
    blocks = -(-classes // BLOCK)
    full = [(0, 0)] * (logits.ndim - 1) + [(0, blocks * BLOCK - classes)]
    logits = jnp.pad(logits, full, constant_values=-jnp.inf)
    logits = logits.reshape(*logits.shape[:-1], blocks, BLOCK)
    _, best = jax.lax.top_k(logits.max(-1), min(count, blocks))
    best = jnp.sort(best)
    near = jnp.take_along_axis(logits, best[..., None], axis=-2)
    tokens = best[..., None] * BLOCK + jnp.arange(BLOCK)
    near, tokens = (x.reshape(*x.shape[:-2], -1) for x in (near, tokens))
    values, places = jax.lax.top_k(near, min(count, classes))
    return values - largest - log_sum, jnp.take_along_axis(tokens, places, axis=-1)


def _ranked(beams: Beams, pad: int, options: SearchOptions) -> Beams:
    """Return beams with scores, best first; empty hypotheses have no tokens."""
    beams = beams._replace(scores=options.score(beams.scores, beams.lengths))
    beams = _reorder(beams, jnp.lexsort((-beams.scores, ~beams.ended), axis=-1))
    exists = beams.scores > -jnp.inf
    return beams._replace(
        tokens=jnp.where(exists[..., None], beams.tokens, pad),
        lengths=jnp.where(exists, beams.lengths, 0),
    )
