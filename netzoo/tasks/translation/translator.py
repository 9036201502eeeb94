"""Sentences in, sentences out: subwords, batches of few shapes, beam search, and back to text."""

import functools
import itertools
import time
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
from chex import ArrayTree
from ml_collections import ConfigDict
from rich.console import Console

from netzoo.errors import UserError
from netzoo.kernels.compiler_options import compiler_options
from netzoo.layers import ENDPOINTS
from netzoo.progress import track
from netzoo.tasks.translation.batches import MOST_TOKENS
from netzoo.tasks.translation.beam_search import beam_search
from netzoo.tasks.translation.figures import MOST_PIECES
from netzoo.tasks.translation.vocabulary import END, START, Vocabulary


class Hypothesis(NamedTuple):
    """A translation.

    Attributes:
      text: As a person reads it.
      score: Log probability over the length penalty.
      tokens: Of the vocabulary, without the start and with the end, if it has come to one.
    """

    text: str
    score: float
    tokens: tuple[int, ...]


class SourceBatch(NamedTuple):
    """Sentences of one padded shape.

    Attributes:
      indices: Of the sentences in the order that they were given in.
      tokens: int32 `[rows, length]`; rows beyond the sentences are padding.
    """

    indices: tuple[int, ...]
    tokens: np.ndarray


class Translator:
    """Translates with `config.evaluation`'s beam search, compiled once a shape."""

    def __init__(
        self,
        config: ConfigDict,
        model: nn.Module,
        variables: ArrayTree,
        vocabulary: Vocabulary,
        n_best: int = 1,
    ):
        """Translates with a network; `n_best` translations of each sentence will be finished."""
        self._config, self._model, self._vocabulary = config, model, vocabulary
        self._variables = variables
        evaluation = config.evaluation
        search = functools.partial(
            beam_search,
            model,
            beam_size=evaluation.beam_size,
            length_penalty=evaluation.length_penalty,
            n_best=n_best,
            start=START,
            end=END,
        )
        options = compiler_options()
        self._search = jax.jit(search, static_argnames="max_length", compiler_options=options)
        self._program = functools.cache(self._compile)
        self._endpoints = jax.jit(
            lambda variables, source, target: model.apply(
                variables, source, target, train=False, mutable=[ENDPOINTS]
            )[1][ENDPOINTS],
            compiler_options=options,
        )

    def translate(
        self, sentences: Sequence[str], description: str, console: Console | None = None
    ) -> tuple[list[list[Hypothesis]], float]:
        """Translates sentences, and shows how far it is.

        Args:
          sentences: In the source language.
          description: Of the progress bar.
          console: That it is shown on; None for standard output.

        Returns:
          The hypotheses of every sentence, best first, and the seconds without compiling.
        """
        batches, found = self.batches(sentences), {}
        shapes = {batch.tokens.shape for batch in batches}
        for shape in track(shapes, "compiling", console):
            self._program(shape)
        began = time.monotonic()
        for batch in track(batches, description, console):
            found |= self(batch)
        return [found[index] for index in range(len(sentences))], time.monotonic() - began

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Returns the tokens of sentences, without an end.

        Raises:
          UserError: One is not UTF-8, or has `MOST_TOKENS` or more, without its end.
        """
        for number, sentence in enumerate(sentences, 1):
            # As Python reads arguments that are in no encoding.
            if any("\ud800" <= character <= "\udfff" for character in sentence):
                raise UserError(f"sentence {number:,} is not UTF-8: {sentence!a}")
        encoded = self._vocabulary.encode_all(sentences)
        for number, tokens in enumerate(encoded, 1):
            if len(tokens) + 1 > MOST_TOKENS:
                raise UserError(
                    f"sentence {number:,} has {len(tokens):,} tokens, and {MOST_TOKENS - 1:,} "
                    "are possible; divide it into its sentences"
                )
        return encoded

    def batches(self, sentences: Sequence[str]) -> list[SourceBatch]:
        """Divides sentences into batches of similar length, the longest first.

        Blank sentences are rows of padding, whose only translation is the empty one.

        Raises:
          UserError: See `encode`.
        """
        rows_of: dict[int, list[tuple[int, list[int]]]] = {}
        for index, tokens in enumerate(self.encode(sentences)):
            # To the search a row of padding is nothing to translate.
            tokens = [*tokens, END] if tokens else []
            rows_of.setdefault(self._padded(len(tokens)), []).append((index, tokens))
        batches = []
        for length in sorted(rows_of, reverse=True):
            rows = rows_of[length]
            size = self._rows(length, len(rows))
            for first in range(0, len(rows), size):
                indices, tokens = zip(*rows[first : first + size], strict=True)
                padded = np.zeros((size, length), np.int32)
                for row, values in zip(padded, tokens, strict=False):
                    row[: len(values)] = values
                batches.append(SourceBatch(indices, padded))
        return batches

    def _padded(self, length: int) -> int:
        """Returns the next of the configured lengths, or the next multiple of the longest."""
        lengths = self._config.data.lengths
        longest = lengths[-1]
        return next((n for n in lengths if n >= length), -(-length // longest) * longest)

    def _rows(self, length: int, sentences: int) -> int:
        """Returns the rows of a batch: a power of two, no more than its tokens allow or needed."""
        evaluation = self._config.evaluation
        most = max(1, evaluation.batch_size // (length * evaluation.beam_size))
        return 1 << min(most.bit_length() - 1, (sentences - 1).bit_length())

    def __call__(self, batch: SourceBatch) -> dict[int, list[Hypothesis]]:
        """Returns the hypotheses of every sentence by its index, best first.

        Raises:
          UserError: The network gives no finite probabilities.
        """
        beams = jax.device_get(self._program(batch.tokens.shape)(self._variables, batch.tokens))
        found = {
            index: [
                Hypothesis(self._vocabulary.decode(found), float(score), tuple(map(int, found)))
                for tokens, score, length in zip(*of_sentence, strict=True)
                if score > -np.inf  # there are fewer sequences than places
                for found in [tokens[:length]]
            ]
            for index, *of_sentence in zip(
                batch.indices, beams.tokens, beams.scores, beams.lengths, strict=False
            )
        }
        if not all(found.values()):
            raise UserError(
                "the network's probabilities are not finite, most likely because its weights are "
                "not; take another --checkpoint"
            )
        return found

    def _compile(self, shape: tuple[int, int]) -> jax.stages.Compiled:
        tokens = jax.ShapeDtypeStruct(shape, np.int32)
        max_length = shape[1] + self._config.evaluation.extra_length
        return self._search.lower(self._variables, tokens, max_length=max_length).compile()

    def attention(
        self, sentences: Sequence[str], hypotheses: Sequence[Hypothesis], most: int
    ) -> list[tuple[list[str], list[str], np.ndarray]]:
        """Returns pieces of source and translation, and where the decoder's last block looked.

        Of the first sentences that can be drawn, at most `most`: they are not blank, and neither
        they nor their translations have more than `MOST_PIECES` pieces, with the end. The weights
        `[translation, source]` are the mean over the heads of the cross-attention.
        """
        pairs = zip(sentences, hypotheses, strict=True)
        tokens = (([*self._vocabulary.encode(text), END], found.tokens) for text, found in pairs)
        drawn = (pair for pair in tokens if pair[1] and max(map(len, pair)) <= MOST_PIECES)
        return [self._attention(*pair) for pair in itertools.islice(drawn, most)]

    def _attention(
        self, source: Sequence[int], target: Sequence[int]
    ) -> tuple[list[str], list[str], np.ndarray]:
        padded = np.zeros((2, 1, self._padded(max(len(source), len(target)))), np.int32)
        for row, tokens in zip(padded, (source, [START, *target[:-1]]), strict=True):
            row[0, : len(tokens)] = tokens
        found = self._endpoints(self._variables, *padded)
        last = f"decoder/block{self._model.variant.layers}/cross_attention_weights"
        weights = np.asarray(found[last])[0].mean(0)[: len(target), : len(source)]
        return self._vocabulary.pieces(source), self._vocabulary.pieces(target), weights
