"""Tokenised sentence pairs in memory."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from netzoo.tasks.translation.sources import Pair
from netzoo.tasks.translation.vocabulary import Vocabulary


@dataclass(frozen=True)
class Ragged:
    """Sequences of different lengths, end to end in one array.

    A list of arrays would take a hundred bytes more for each of millions of sentences.
    """

    flat: np.ndarray  # int32, all tokens
    offsets: np.ndarray  # int64 [sequences + 1]; sequence i is flat[offsets[i] : offsets[i + 1]]

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> "Ragged":
        """Joins sequences of token numbers."""
        offsets = np.cumsum([0, *map(len, sequences)], dtype=np.int64)
        flat = np.fromiter((t for s in sequences for t in s), np.int32, count=offsets[-1])
        return cls(flat, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.flat[self.offsets[index] : self.offsets[index + 1]]

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each sequence, int64 [sequences]."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class Corpus:
    """Sentence pairs as token numbers, without special tokens."""

    source: Ragged
    target: Ragged

    @classmethod
    def encode(cls, pairs: Sequence[Pair], vocabulary: Vocabulary) -> "Corpus":
        """Tokenises sentence pairs, at least one."""
        return cls(*(Ragged.of(vocabulary.encode_all(side)) for side in zip(*pairs, strict=True)))

    def __len__(self) -> int:
        return len(self.source)

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Length of each pair, int64 [pairs]: that of its longer side, with END."""
        return np.maximum(self.source.lengths, self.target.lengths) + 1
