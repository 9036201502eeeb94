"""Beam search for the most probable translation (Wu et al., arXiv:1609.08144, section 7).

A beam is what a sentence has of hypotheses: the `beam_size` most probable ones, those that have
ended among them, which keep their places until more probable ones take them. With a single place
that is greedy decoding. Finally they are ranked by their score, equation 14 of the paper without
its coverage: the log probability over `((5 + length) / 6) ** length_penalty`, the end counted.
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from netzoo.errors import UserError
from netzoo.models.transformer import Cache

BLOCK = 128  # tokens of which only the largest logit is looked at first
SHORTEST_CACHE = 16  # in tokens; every length more is one loop more to compile


class Beams(NamedTuple):
    """The hypotheses of every sentence: those that ended, best first, then those that did not.

    Attributes:
      tokens: int32 `[batch, beam_size, max_length]`: a translation, its end symbol, padding.
      scores: float32 `[batch, beam_size]`, log probability (nats) by length. -inf where there are
        fewer sequences than places, 0 where the source is nothing but padding; neither has tokens.
      lengths: int32 `[batch, beam_size]`, in tokens, the end symbol included.
      ended: Booleans `[batch, beam_size]`.
    """

    tokens: jax.Array
    scores: jax.Array
    lengths: jax.Array
    ended: jax.Array


class _State(NamedTuple):
    """`Beams` in the making; `last` are the tokens `[batch, beam_size]` to go on from."""

    cache: Cache
    last: jax.Array
    tokens: jax.Array
    log_probs: jax.Array
    lengths: jax.Array
    ended: jax.Array


def beam_search(
    model: nn.Module,
    variables: Any,
    source: jax.Array,
    *,
    beam_size: int,
    max_length: int,
    length_penalty: float = 0.6,
    n_best: int = 1,
    start: int = 1,
    end: int = 2,
) -> Beams:
    """Translates sentences; everything but `variables` and `source` is static under `jax.jit`.

    A sentence is finished when none of its hypotheses can still become one of the `n_best` that
    have ended, however long it became; it then stays as it is, whatever else is in the batch.

    Args:
      model: A Transformer.
      variables: Its parameters.
      source: Tokens `[batch, S]`, padded at the end. A row of padding costs no time.
      beam_size: Hypotheses of every sentence; 1 is greedy decoding, the paper on the Transformer
        has 4 (arXiv:1706.03762, section 6.1).
      max_length: Of a translation, in tokens, the end symbol included.
      length_penalty: Alpha of the paper; 0 ranks by probability alone, which favours the short.
      n_best: How many hypotheses are wanted; those beyond may be unfinished.
      start: The token before the first. Neither it nor padding is ever produced.
      end: The token that ends a translation.

    Raises:
      UserError: An option is out of its range.
    """
    _check(beam_size, max_length, length_penalty, n_best)

    def finished(state):
        return _finished(state, max_length, length_penalty, n_best)

    def step(state):
        logits, cache = model.apply(variables, state.last, state.cache, method="decode_step")
        rests = state.ended | finished(state)[:, None]
        return _advance(state._replace(cache=cache), logits, rests, (model.pad_id, start), end)

    state = _begin(model, variables, source, (beam_size, max_length), start)
    # Few translations are as long as they may be, and a step costs by the length of the cache.
    for length in _doubling(max_length):

        def unfinished(state, length=length):
            return (state.cache.position < length) & ~finished(state).all()

        state = state._replace(cache=state.cache.grow(length))
        state = jax.lax.while_loop(unfinished, step, state)
    return _ranked(state, length_penalty, model.pad_id)


def _begin(
    model: nn.Module, variables: Any, source: jax.Array, size: tuple[int, int], start: int
) -> _State:
    """Returns the state before the first token; `size` is that of a sentence's `Beams.tokens`."""
    memory = model.apply(variables, source, train=False, method="encode")
    mask = source != model.pad_id
    cache = model.apply(variables, memory, mask, 0, size[0], method="init_cache")
    shape = (source.shape[0], size[0])
    # All begin alike: only one of them may, or the beam would hold every sequence several times.
    first = jnp.where(jnp.arange(size[0]) == 0, 0.0, -jnp.inf).astype(jnp.float32)
    return _State(
        cache=cache,
        last=jnp.full(shape, start, jnp.int32),
        tokens=jnp.full((source.shape[0], *size), model.pad_id, jnp.int32),
        log_probs=jnp.broadcast_to(first, shape),
        lengths=jnp.zeros(shape, jnp.int32),
        ended=jnp.zeros(shape, bool),
    )


def _finished(state: _State, max_length: int, length_penalty: float, n_best: int) -> jax.Array:
    """Returns booleans `[batch]`: nothing can beat the best that ended, or nothing is there."""
    scores = _score(state.log_probs, state.lengths, length_penalty)
    best, _ = jax.lax.top_k(jnp.where(state.ended, scores, -jnp.inf), n_best)
    # Log probabilities only fall, and the penalty is largest at the full length.
    hopes = _score(state.log_probs, max_length, length_penalty)
    hope = jnp.where(state.ended, -jnp.inf, hopes).max(axis=1)
    return (best[:, -1] >= hope) | ~state.cache.source_mask.any(axis=1)


def _advance(
    state: _State, logits: jax.Array, rests: jax.Array, forbidden: tuple[int, int], end: int
) -> _State:
    """Replaces the beams by their most probable continuations, of which one that rests has one."""
    (batch, beams), pad = rests.shape, forbidden[0]
    log_probs, candidates = most_probable(logits.astype(jnp.float32), beams, forbidden)
    alone = jnp.where(jnp.arange(log_probs.shape[-1]) == 0, 0.0, -jnp.inf)
    log_probs = jnp.where(rests[..., None], alone, log_probs)
    candidates = jnp.where(rests[..., None], pad, candidates).reshape(batch, -1)
    log_probs = (state.log_probs[..., None] + log_probs).reshape(batch, -1)
    log_probs, chosen = jax.lax.top_k(log_probs, beams)
    parents = chosen // (candidates.shape[1] // beams)
    last = jnp.take_along_axis(candidates, chosen, axis=1)
    position = state.cache.position - 1
    cache, tokens, lengths, ended = state.cache, state.tokens, state.lengths, state.ended
    if beams > 1:
        cache = cache.reorder(parents)
        tokens = jnp.take_along_axis(tokens, parents[..., None], axis=1)
        lengths, ended, rests = (
            jnp.take_along_axis(x, parents, axis=1) for x in (lengths, ended, rests)
        )
    return _State(
        cache=cache,
        last=last,
        tokens=tokens.at[:, :, position].set(last),
        log_probs=log_probs,
        lengths=jnp.where(rests, lengths, lengths + 1),
        ended=(ended | (last == end)) & (log_probs > -jnp.inf),
    )


def most_probable(
    logits: jax.Array, count: int, forbidden: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """Returns the most probable tokens' log probabilities `[..., count]`, in nats, and the tokens.

    They are looked for in the blocks of the vocabulary that have the largest maxima: maxima are
    fast, `top_k` of a whole vocabulary takes longer than its logits. Of equals comes the lower.

    Args:
      logits: `[..., classes]`, float32.
      count: Of tokens; there are no more than `classes`.
      forbidden: Tokens that count in the softmax and have log probability -inf.
    """
    classes = logits.shape[-1]
    largest = logits.max(-1, keepdims=True)
    log_sum = jnp.log(jnp.exp(logits - largest).sum(-1, keepdims=True))
    token = jnp.arange(classes)
    allowed = functools.reduce(jnp.logical_and, (token != other for other in forbidden))
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


def _ranked(state: _State, length_penalty: float, pad: int) -> Beams:
    scores = _score(state.log_probs, state.lengths, length_penalty)
    order = jnp.lexsort((-scores, ~state.ended), axis=-1)
    tokens, scores, lengths, ended = (
        jnp.take_along_axis(x, order.reshape(*order.shape, *[1] * (x.ndim - 2)), axis=1)
        for x in (state.tokens, scores, state.lengths, state.ended)
    )
    exists = scores > -jnp.inf
    tokens, lengths = jnp.where(exists[..., None], tokens, pad), jnp.where(exists, lengths, 0)
    return Beams(tokens, scores, lengths, ended)


def _doubling(max_length: int) -> list[int]:
    """Returns the lengths of the cache, each about twice the one before, up to `max_length`."""
    lengths = [max_length]
    while lengths[0] > 2 * SHORTEST_CACHE:
        lengths.insert(0, -(-lengths[0] // 2))
    return lengths


def _score(log_probs: jax.Array, length: jax.Array | int, length_penalty: float) -> jax.Array:
    return log_probs / ((5.0 + length) / 6.0) ** length_penalty


def _check(beam_size: int, max_length: int, length_penalty: float, n_best: int) -> None:
    for name, value in (("beam_size", beam_size), ("max_length", max_length)):
        if value < 1:
            raise UserError(f"{name} is {value}; it is a number of places, at least 1")
    if not 1 <= n_best <= beam_size:
        raise UserError(f"n_best is {n_best}; expected 1 to beam_size, which is {beam_size}")
    if length_penalty < 0:
        raise UserError(
            f"length_penalty is {length_penalty}; expected 0, which ranks by probability alone, or "
            "more, which favours longer translations; the paper has 0.6"
        )
