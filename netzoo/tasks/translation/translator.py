"""Translates text: subwords, batches of few shapes, beam search, and back to text."""

import functools
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from chex import ArrayTree
from ml_collections import ConfigDict

from netzoo.errors import UserError
from netzoo.kernels import compiler_options, use_precision
from netzoo.layers import ENDPOINTS
from netzoo.progress import track
from netzoo.tasks.translation.batches import MOST_TOKENS
from netzoo.tasks.translation.beam_search import SearchOptions, beam_search
from netzoo.tasks.translation.figures import MOST_PIECES, Example
from netzoo.tasks.translation.vocabulary import END, PAD, START, Vocabulary


class Hypothesis(NamedTuple):
    """A translation."""

    text: str  # detokenised
    score: float  # log probability over the length penalty
    tokens: tuple[int, ...]  # without the start; with the end if the search reached it


class Translator:
    """Translates by beam search with `config.evaluation`; compiles once per shape.

    Attributes:
      config: The configuration of the run.
    """

    def __init__(
        self,
        config: ConfigDict,
        model: nn.Module,
        variables: ArrayTree,
        vocabulary: Vocabulary,
        n_best: int = 1,
    ):
        """Prepare a network; the search finishes `n_best` translations per sentence."""
        self.config, self._model, self._n_best = config, model, n_best
        self._variables, self._vocabulary = variables, vocabulary
        precisely = use_precision(config.matmul_precision)

        def compiled(function: Callable, **options: Any) -> jax.stages.Wrapped:
            return jax.jit(precisely(function), compiler_options=compiler_options(), **options)

        self._search = compiled(functools.partial(beam_search, model), static_argnames="options")
        self._program = functools.cache(self._compile)
        self._endpoints = compiled(
            lambda variables, source, target: model.apply(
                variables, source, target, train=False, mutable=[ENDPOINTS]
            )[1][ENDPOINTS]
        )

    def translate(
        self, sentences: Sequence[str], description: str
    ) -> tuple[list[list[Hypothesis]], float]:
        """Translate sentences, with a progress bar.

        Returns:
          The hypotheses of every sentence, best first, and the seconds without compilation.

        Raises:
          UserError: A sentence cannot be encoded, or the network's probabilities are not finite.
        """
        batches = self.batches(sentences)
        answers: dict[int, list[Hypothesis]] = {}
        for shape in track({tokens.shape for _, tokens in batches}, "compiling"):
            self._program(shape)
        began = time.monotonic()
        for indices, tokens in track(batches, description):
            beams = jax.device_get(self._program(tokens.shape)(self._variables, tokens))
            hypotheses = map(self._hypotheses, beams.tokens, beams.scores, beams.lengths)
            answers.update(zip(indices, hypotheses, strict=False))
        return [answers[index] for index in range(len(sentences))], time.monotonic() - began

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Return the tokens of sentences, without the end.

        Raises:
          UserError: A sentence is not UTF-8, or has `MOST_TOKENS` or more tokens without the end.
        """
        for number, sentence in enumerate(sentences, 1):
            # Python decodes invalid bytes of arguments as surrogates.
            if any("\ud800" <= character <= "\udfff" for character in sentence):
                raise UserError(f"sentence {number:,} is not UTF-8: {sentence!a}")
        encoded = self._vocabulary.encode_all(sentences)
        for number, tokens in enumerate(encoded, 1):
            if len(tokens) + 1 > MOST_TOKENS:
                raise UserError(
                    f"sentence {number:,} has {len(tokens):,} tokens; expected at most "
                    f"{MOST_TOKENS - 1:,}; divide it into its sentences"
                )
        return encoded

    def batches(self, sentences: Sequence[str]) -> list[tuple[list[int], np.ndarray]]:
        """Divide sentences into batches of similar length, the longest first.

        Blank sentences are rows of padding, with an empty translation. The number of rows is a
        power of two, limited by the tokens of a batch and the number of sentences.

        Returns:
          For each batch, the indices of the sentences, and tokens, int32 `[rows, length]`. Further
          rows are padding.

        Raises:
          UserError: See `encode`.
        """
        evaluation = self.config.evaluation
        encoded = [[*tokens, END] if tokens else [] for tokens in self.encode(sentences)]
        indices_of: dict[int, list[int]] = {}
        for index, tokens in enumerate(encoded):
            indices_of.setdefault(self._padded(len(tokens)), []).append(index)
        batches = []
        for length, indices in sorted(indices_of.items(), reverse=True):
            most = max(1, evaluation.batch_size // (length * evaluation.beam_size))
            rows = 1 << min(most.bit_length() - 1, (len(indices) - 1).bit_length())
            for first in range(0, len(indices), rows):
                part = indices[first : first + rows]
                padded = _pad((encoded[index] for index in part), (rows, length))
                batches.append((part, padded))
        return batches

    def _padded(self, length: int) -> int:
        """Return the next of the configured lengths, or the next multiple of the longest."""
        *_, longest = lengths = self.config.data.lengths
        return next((n for n in lengths if n >= length), -(-length // longest) * longest)

    def _hypotheses(self, *beam: np.ndarray) -> list[Hypothesis]:
        """Return the hypotheses of a sentence from their tokens, scores and lengths."""
        places = zip(*(values.tolist() for values in beam), strict=True)
        hypotheses = [
            Hypothesis(self._vocabulary.decode(tokens[:length]), score, tuple(tokens[:length]))
            for tokens, score, length in places
            if score > -np.inf  # -inf marks empty hypotheses
        ]
        if not hypotheses:
            raise UserError(
                "the network's probabilities are not finite, most likely because its weights are "
                "not; use another --checkpoint"
            )
        return hypotheses

    def _compile(self, shape: tuple[int, int]) -> jax.stages.Compiled:
        search, tokens = self.config.evaluation, jax.ShapeDtypeStruct(shape, np.int32)
        max_length = shape[1] + search.extra_length
        options = SearchOptions(max_length, search.beam_size, search.length_penalty, self._n_best)
        return self._search.lower(self._variables, tokens, options=options).compile()

    def attention(
        self, sentences: Sequence[str], hypotheses: Sequence[Hypothesis], most: int
    ) -> list[Example]:
        """Return the attention of the last decoder block for the first `most` drawable sentences.

        A drawable sentence is not blank, and it and its translation have at most `MOST_PIECES`
        pieces, including the end. The weights are the mean over the heads of the cross-attention.
        """
        pairs = zip(sentences, hypotheses, strict=True)
        heads = (self.attention_heads(text, best) for text, best in pairs)
        drawn = itertools.islice((found for found in heads if found), most)
        return [(source, target, weights.mean(0)) for source, target, weights in drawn]

    def attention_heads(self, sentence: str, hypothesis: Hypothesis) -> Example | None:
        """Return pieces and cross-attention of a sentence as `attention`, but for each head.

        The weights are `[heads, T, S]`. The result is None if the sentence is not drawable.
        """
        source, target = [*self._vocabulary.encode(sentence), END], hypothesis.tokens
        if not target or max(len(source), len(target)) > MOST_PIECES:
            return None
        shape = (1, self._padded(max(len(source), len(target))))
        inputs = (_pad([tokens], shape) for tokens in (source, [START, *target[:-1]]))
        endpoints = self._endpoints(self._variables, *inputs)
        last = f"decoder/block{self._model.variant.layers}/cross_attention_weights"
        weights = np.asarray(endpoints[last])[0, :, : len(target), : len(source)]
        return self._vocabulary.pieces(source), self._vocabulary.pieces(target), weights


def _pad(sequences: Iterable[Sequence[int]], shape: tuple[int, int]) -> np.ndarray:
    """Copy sequences of tokens into the first rows of an int32 array of padding."""
    padded = np.full(shape, PAD, np.int32)
    for row, tokens in zip(padded, sequences, strict=False):
        row[: len(tokens)] = tokens
    return padded
