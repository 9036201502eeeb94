"""Tokenised sentence pairs, and Grain batches of pairs of similar length.

A compiled step needs fixed shapes, but sentences have many lengths. Pairs are therefore divided
among a few buckets. The batches of a bucket have one length and one shape.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import grain
import numpy as np

from netzoo.data.batching import ENDLESS_BATCHES, evenly_spaced, generator, in_threads
from netzoo.errors import UserError
from netzoo.tasks.translation.sources import Pair
from netzoo.tasks.translation.vocabulary import END, PAD, START, Vocabulary

Batch = dict[str, np.ndarray]

_BUCKET_STREAM, _BATCH_STREAM = 3, 4
_PADDING_ROW = -1
# Maximum tokens, including the end, of a sentence in evaluation or translation, because the memory
# for attention grows with the square of the length.
MOST_TOKENS = 2048


@dataclass(frozen=True)
class Ragged:
    """Sequences of different lengths, concatenated in one array.

    A list of arrays would take a hundred more bytes per sentence.
    """

    flat: np.ndarray  # int32, all tokens
    offsets: np.ndarray  # int64 [sequences + 1]; sequence i is flat[offsets[i] : offsets[i + 1]]

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> "Ragged":
        """Concatenate sequences of token numbers."""
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
        """Tokenise one or more sentence pairs."""
        return cls(*(Ragged.of(vocabulary.encode_all(side)) for side in zip(*pairs, strict=True)))

    def __len__(self) -> int:
        return len(self.source)

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Length of each pair's longer side, including END, int64 [pairs]."""
        return np.maximum(self.source.lengths, self.target.lengths) + 1


@dataclass(frozen=True)
class Buckets:
    """The shapes of batches; the configuration is already validated."""

    lengths: tuple[int, ...]  # increasing; a pair goes into the first bucket that is long enough
    batch_tokens: int  # maximum per batch and side, with padding; but see `row_multiple`
    # The number of rows of every batch is a multiple of this, so that the devices and the parts of
    # gradient accumulation divide it.
    row_multiple: int

    def rows(self, length: int) -> int:
        """Return the number of rows of a batch, over all processes."""
        return max(self.batch_tokens // length // self.row_multiple, 1) * self.row_multiple

    def divide(self, lengths: np.ndarray) -> list[np.ndarray]:
        """Return the indices of the pairs in each bucket, in order, given the pairs' lengths."""
        # The number of buckets that are too short is the index of the first bucket that fits.
        bucket = np.searchsorted(self.lengths, lengths)
        return [np.flatnonzero(bucket == b) for b in range(len(self.lengths))]

    def batches(self, members: Iterable[np.ndarray]) -> list[tuple[int, np.ndarray]]:
        """Return `(length, indices)` of all batches, given the pairs `members` of each bucket.

        The last batch of a bucket is padded with rows of index -1.
        """
        batches = []
        for length, indices in zip(self.lengths, members, strict=True):
            rows = self.rows(length)
            filled = np.pad(indices, (0, -len(indices) % rows), constant_values=_PADDING_ROW)
            batches += [(length, part) for part in filled.reshape(-1, rows)]
        return batches

    def steps(self, corpus: Corpus) -> int:
        """Return the number of batches of an epoch, in which each pair that fits occurs once."""
        return len(self.batches(self.divide(corpus.lengths)))

    def left_out(self, corpus: Corpus) -> int:
        """Return how many pairs are too long for the last bucket."""
        return int(np.sum(corpus.lengths > self.lengths[-1]))


class _Batches:
    """Batches of a corpus, prepared in threads; subclasses define `__getitem__`."""

    def __init__(self, corpus: Corpus, buckets: Buckets, num_threads: int, shard: tuple[int, int]):
        """Store the inputs of batches.

        `shard` is the `(index, count)` of this process among those that share each batch. The batch
        does not depend on their number; each process gets its own rows of it.
        """
        self._corpus, self._buckets = corpus, buckets
        self._num_threads, self._shard = num_threads, shard

    def __iter__(self) -> grain.DatasetIterator:
        return iter(in_threads(self, self._num_threads))

    def _batch(self, length: int, indices: np.ndarray) -> Batch:
        """Return this process's rows of the batch of the pairs `indices`."""
        corpus, (index, count) = self._corpus, self._shard
        rows = np.split(indices, count)[index]
        source = np.full((len(rows), length), PAD, np.int32)
        target = np.full((len(rows), length + 1), PAD, np.int32)
        for row, pair in enumerate(rows):
            if pair == _PADDING_ROW:
                source[row, 0] = END
                continue
            tokens, translation = corpus.source[pair], corpus.target[pair]
            source[row, : len(tokens)], source[row, len(tokens)] = tokens, END
            target[row, 0], target[row, len(translation) + 1] = START, END
            target[row, 1 : len(translation) + 1] = translation
        real = indices[indices != _PADDING_ROW]
        labels = np.sum(corpus.target.lengths[real] + 1)
        weight = np.full(len(rows), len(indices) / labels, np.float32)
        return {"source": source, "target": target, "weight": weight}


class TrainBatches(_Batches):
    """Endless batches for training.

    Every epoch has `Buckets.steps` batches with each pair exactly once. It reshuffles the pairs of
    each bucket, and the order of the batches of all buckets. Pairs longer than the last bucket are
    left out.

    A batch is `{"source": int32 [R, L], "target": int32 [R, L + 1], "weight": float32 [R]}`, where
    R is the number of rows of this process. A source row is tokens, END, padding. A target row is
    START, tokens, END, padding, so `target[:, :-1]` is the decoder's input and `target[:, 1:]` its
    labels. A row of padding has no target. Its only source token is END, so that attention is
    defined. `weight` is the number of rows divided by the number of labels of the whole batch, and
    is the same in all rows. The mean over rows of `weight * (sum of the row's losses)` is therefore
    the mean loss per label, for any sharding of the batch.
    """

    def __init__(
        self,
        corpus: Corpus,
        buckets: Buckets,
        *,
        seed: int,
        num_threads: int = 2,
        shard: tuple[int, int] = (0, 1),
    ):
        """Divide the pairs among the buckets.

        Raises:
          UserError: No pair fits into a bucket.
        """
        super().__init__(corpus, buckets, num_threads, shard)
        if buckets.left_out(corpus) == len(corpus):
            raise UserError(
                f"none of the {len(corpus):,} pairs has at most {buckets.lengths[-1]} tokens, the "
                "last of data.lengths; add a longer length"
            )
        self._members, self._steps = buckets.divide(corpus.lengths), buckets.steps(corpus)
        self._seed = seed
        # Threads work on neighbouring batches, from at most two epochs.
        self._shuffled = functools.lru_cache(maxsize=2)(self._shuffle)

    def __len__(self) -> int:
        return ENDLESS_BATCHES

    def __getitem__(self, step: int) -> Batch:
        epoch, step = divmod(step, self._steps)
        return self._batch(*self._shuffled(epoch)[step])

    def _shuffle(self, epoch: int) -> list[tuple[int, np.ndarray]]:
        """Return the lengths and the pairs of an epoch's batches."""
        batches = self._buckets.batches(
            generator(self._seed, _BUCKET_STREAM, epoch, bucket).permutation(indices)
            for bucket, indices in enumerate(self._members)
        )
        order = generator(self._seed, _BATCH_STREAM, epoch, 0).permutation(len(batches))
        return [batches[i] for i in order]


class EvalBatches(_Batches):
    """Batches with every pair exactly once, or with `limit` evenly spaced pairs.

    Batches are as in `TrainBatches`, with a `mask`, bool [R], that is False for rows of padding.
    Longer pairs go into further buckets, at multiples of the last bucket's length.
    """

    def __init__(
        self,
        corpus: Corpus,
        buckets: Buckets,
        *,
        limit: int | None = None,
        num_threads: int = 2,
        shard: tuple[int, int] = (0, 1),
    ):
        """Divide the pairs among the buckets.

        Raises:
          UserError: A side of a pair has more than `MOST_TOKENS` tokens, including the end.
        """
        super().__init__(corpus, buckets, num_threads, shard)
        chosen = evenly_spaced(len(corpus), limit)
        lengths = corpus.lengths[chosen]
        if (long := lengths > MOST_TOKENS).any():
            pair = chosen[long.argmax()]
            raise UserError(
                f"pair {pair + 1:,} has {corpus.lengths[pair] - 1:,} tokens on a side; expected at "
                f"most {MOST_TOKENS - 1:,}; divide it into its sentences, or leave it out"
            )
        last = buckets.lengths[-1]
        further = range(2 * last, int(lengths.max(initial=0)) + last, last)
        buckets = replace(buckets, lengths=(*buckets.lengths, *further))
        self._batches = buckets.batches(chosen[part] for part in buckets.divide(lengths))

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, step: int) -> Batch:
        batch = self._batch(*self._batches[step])
        return {**batch, "mask": batch["target"][:, 0] == START}
