"""Batches of sentence pairs of similar length, for training and evaluation, on Grain.

A compiled step needs fixed shapes, and sentences have many lengths. So there are a few buckets,
each with one length and with as many rows as make about `batch_tokens` tokens: one shape a bucket.
"""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import grain
import numpy as np

from netzoo.data.batching import ENDLESS_BATCHES, generator, in_threads
from netzoo.errors import UserError
from netzoo.tasks.translation.corpus import Corpus
from netzoo.tasks.translation.vocabulary import END, PAD, START

Batch = dict[str, np.ndarray]

_BUCKET_STREAM, _BATCH_STREAM = 3, 4
_PADDING_ROW = -1
# Of what is evaluated or translated, with its end: attention takes memory with the square of it.
MOST_TOKENS = 2048


@dataclass(frozen=True)
class BucketPlan:
    """The shapes of batches.

    Attributes:
        lengths: positions of each bucket, rising. Bucket b takes the pairs that are longer than
            `lengths[b - 1]` and no longer than `lengths[b]`.
        rows: rows of a batch of each bucket, over all processes.
    """

    lengths: tuple[int, ...]
    rows: tuple[int, ...]

    def steps(self, corpus: Corpus) -> int:
        """Returns the batches in which each pair that fits occurs once: those of an epoch."""
        return sum(
            -(-len(members) // rows)
            for members, rows in zip(self.members(corpus.lengths), self.rows, strict=True)
        )

    def left_out(self, corpus: Corpus) -> int:
        """Returns how many pairs are too long for the last bucket."""
        return int(np.sum(corpus.lengths > self.lengths[-1]))

    def members(self, lengths: np.ndarray) -> list[np.ndarray]:
        """Returns the indices of the pairs of each bucket, in order.

        Args:
            lengths: length of each pair.
        """
        # The number of buckets that are too short is the number of the one that is not.
        bucket = np.searchsorted(self.lengths, lengths)
        return [np.flatnonzero(bucket == b) for b in range(len(self.lengths))]


def plan_buckets(batch_tokens: int, lengths: tuple[int, ...], row_multiple: int) -> BucketPlan:
    """Chooses the rows of each bucket.

    Args:
        batch_tokens: tokens of a batch on each side, padding included; what a bucket gets is this
            or a little less, but never under `row_multiple` rows.
        lengths: lengths of the buckets, rising.
        row_multiple: what rows must be divisible by: devices times gradient accumulation.

    Raises:
        UserError: if a number is not positive or the lengths do not rise.
    """
    lengths = tuple(lengths)
    if not lengths or lengths[0] < 1 or any(a >= b for a, b in itertools.pairwise(lengths)):
        raise UserError(f"bucket lengths must be positive and rise, found {lengths}.")
    if batch_tokens < 1 or row_multiple < 1:
        raise UserError(
            "batch_tokens and row_multiple must be positive, found "
            f"{batch_tokens} and {row_multiple}."
        )
    return BucketPlan(lengths, tuple(_rows(batch_tokens, n, row_multiple) for n in lengths))


def train_dataset(
    corpus: Corpus,
    *,
    batch_tokens: int,
    lengths: tuple[int, ...],
    row_multiple: int,
    seed: int,
    num_threads: int = 2,
    shard: tuple[int, int] = (0, 1),
) -> grain.IterDataset:
    """Makes the endless sequence of training batches.

    Every epoch has `BucketPlan.steps` batches with each pair exactly once, shuffled anew: which
    pairs of a bucket come together, and the order of the batches of all buckets. The last batch
    of a bucket is filled up with rows of padding. Pairs longer than the last bucket are left out.

    Args:
        corpus: the pairs.
        batch_tokens: as for `plan_buckets`.
        lengths: as for `plan_buckets`.
        row_multiple: as for `plan_buckets`; a multiple of the processes.
        seed: decides the order.
        num_threads: threads that make batches.
        shard: `(index, count)` of this process among those that share each batch. A process
            gets its rows of the same batch, so their number changes no row.

    Returns:
        An endless `grain.IterDataset` of `{"source": int32 [R, L], "target": int32 [R, L + 1],
        "weight": float32 [R]}` with R the rows of this process. A source row is tokens, END,
        padding; a target row is START, tokens, END, padding, so `target[:, :-1]` is the decoder's
        input and `target[:, 1:]` its labels. A row of padding has END as its only source token,
        so that attention has something to look at, and no target. `weight` is the rows over the
        labels of the whole batch, the same in all rows: the mean over rows of weight times the
        sum of a row's losses is the mean over labels, however the batch is divided.

    Raises:
        UserError: if no pair fits, or the numbers do not fit together.
    """
    plan = plan_buckets(batch_tokens, lengths, row_multiple)
    _check_shard(shard, row_multiple)
    if not 0 <= seed < 2**63:
        raise UserError(f"seed must be in [0, 2**63), found {seed}.")
    if not plan.steps(corpus):
        raise UserError(
            f"None of the {len(corpus):,} pairs has at most {plan.lengths[-1]} tokens, the "
            "length of the last bucket; give a longer one, or more text."
        )
    batches = _TrainBatches(corpus, plan, seed, shard)
    return in_threads(batches, num_threads)


class EvalBatches:
    """Every pair of a corpus exactly once, in batches of few shapes, sorted into buckets.

    Batches are those of `train_dataset` with two more entries: `mask`, bool [R], is False for
    rows of padding, and `index`, int32 [R], is the position of the pair in the corpus, -1 for
    padding. Pairs longer than the last bucket go into further ones, at multiples of its length.
    They can be iterated again and again.
    """

    def __init__(
        self, corpus: Corpus, plan: BucketPlan, members: list[np.ndarray], shard: tuple[int, int]
    ):
        """Use `eval_batches`."""
        self._corpus = corpus
        self._shard = shard
        self._batches = [
            (length, part)
            for indices, length, rows in zip(members, plan.lengths, plan.rows, strict=True)
            for part in _in_batches(indices, rows)
        ]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return (self[step] for step in range(len(self)))

    def __getitem__(self, step: int) -> Batch:
        length, indices = self._batches[step]
        rows = _rows_of_process(indices, self._shard)
        batch = _make_batch(self._corpus, indices, length, self._shard)
        return batch | {"mask": rows != _PADDING_ROW, "index": rows}


def eval_batches(
    corpus: Corpus,
    *,
    batch_tokens: int,
    lengths: tuple[int, ...],
    row_multiple: int,
    shard: tuple[int, int] = (0, 1),
    limit: int | None = None,
) -> EvalBatches:
    """Makes the batches of one pass over the corpus.

    Args:
        corpus: the pairs.
        batch_tokens: as for `plan_buckets`.
        lengths: as for `plan_buckets`.
        row_multiple: as for `train_dataset`.
        shard: as for `train_dataset`.
        limit: use at most so many pairs, evenly spaced; None is all.

    Raises:
        UserError: as `train_dataset`, but pairs of up to `MOST_TOKENS`, with the end, fit.
    """
    plan = plan_buckets(batch_tokens, lengths, row_multiple)
    _check_shard(shard, row_multiple)
    if limit is not None and limit < 1:
        raise UserError(f"limit must be positive, or None for all pairs, found {limit}.")
    count = min(len(corpus), limit or len(corpus))
    chosen = np.arange(count) * len(corpus) // max(count, 1)
    found = corpus.lengths[chosen]
    if (long := found > MOST_TOKENS).any():
        pair = chosen[long.argmax()]
        raise UserError(
            f"pair {pair + 1:,} has {corpus.lengths[pair] - 1:,} tokens on a side, and "
            f"{MOST_TOKENS - 1:,} are possible; divide it into its sentences, or leave it out"
        )
    last = plan.lengths[-1]
    further = range(2 * last, int(found.max(initial=0)) + last, last)
    plan = plan_buckets(batch_tokens, (*plan.lengths, *further), row_multiple)
    members = [chosen[part].astype(np.int32) for part in plan.members(found)]
    return EvalBatches(corpus, plan, members, shard)


class _TrainBatches:
    """Random access to the endless sequence of training batches."""

    def __init__(self, corpus: Corpus, plan: BucketPlan, seed: int, shard: tuple[int, int]):
        self._corpus = corpus
        self._plan = plan
        self._members = plan.members(corpus.lengths)
        self._steps = plan.steps(corpus)
        self._seed = seed
        self._shard = shard
        # Threads work on neighbouring batches, so two epochs are in use at most.
        self._epoch = functools.lru_cache(maxsize=2)(self._shuffle)

    def __len__(self) -> int:
        return ENDLESS_BATCHES

    def __getitem__(self, step: int) -> Batch:
        epoch, step = divmod(step, self._steps)
        length, indices = self._epoch(epoch)[step]
        return _make_batch(self._corpus, indices, length, self._shard)

    def _shuffle(self, epoch: int) -> list[tuple[int, np.ndarray]]:
        batches = []
        for bucket, members in enumerate(self._members):
            order = generator(self._seed, _BUCKET_STREAM, epoch, bucket).permutation(members)
            length, rows = self._plan.lengths[bucket], self._plan.rows[bucket]
            batches += [(length, part) for part in _in_batches(order, rows)]
        order = generator(self._seed, _BATCH_STREAM, epoch, 0).permutation(len(batches))
        return [batches[i] for i in order]


def _rows(batch_tokens: int, length: int, row_multiple: int) -> int:
    return max(row_multiple, batch_tokens // length // row_multiple * row_multiple)


def _in_batches(indices: np.ndarray, rows: int) -> list[np.ndarray]:
    """Divides indices into parts of `rows`, the last one filled up with `_PADDING_ROW`."""
    fill = np.full(-len(indices) % rows, _PADDING_ROW)
    parts = np.concatenate([indices, fill]).astype(np.int32).reshape(-1, rows)
    return list(parts)


def _check_shard(shard: tuple[int, int], row_multiple: int) -> None:
    index, count = shard
    if not 0 <= index < count:
        raise UserError(f"shard must be (index, count) with index below count, found {shard}.")
    if row_multiple % count:
        raise UserError(
            f"row_multiple must be a multiple of the {count} processes that share each batch, "
            f"found {row_multiple}."
        )


def _rows_of_process(indices: np.ndarray, shard: tuple[int, int]) -> np.ndarray:
    index, count = shard
    return np.split(indices, count)[index]


def _make_batch(corpus: Corpus, indices: np.ndarray, length: int, shard: tuple[int, int]) -> Batch:
    """Makes this process's rows of the batch of the pairs `indices`."""
    rows = _rows_of_process(indices, shard)
    source = np.full((len(rows), length), PAD, np.int32)
    target = np.full((len(rows), length + 1), PAD, np.int32)
    for row, index in enumerate(rows):
        if index == _PADDING_ROW:
            source[row, 0] = END
            continue
        tokens, translation = corpus.source[index], corpus.target[index]
        source[row, : len(tokens)] = tokens
        source[row, len(tokens)] = END
        target[row, 0] = START
        target[row, 1 : len(translation) + 1] = translation
        target[row, len(translation) + 1] = END
    real = indices[indices != _PADDING_ROW]
    labels = np.sum(corpus.target.lengths[real] + 1)
    weight = np.full(len(rows), len(indices) / labels, np.float32)
    return {"source": source, "target": target, "weight": weight}
