"""Shared by the pipelines of all tasks: random numbers by position, and prefetching threads.

Batch `i` is a pure function of the seed and `i`. The position in the data is therefore one number,
`next_index` in `iterator.get_state()`. Restarts and the number of threads do not change the
batches.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence

if TYPE_CHECKING:
    import grain
    from grain.sources import RandomAccessDataSource

# Enough for any run, and few enough for Grain's 64-bit batch numbers.
ENDLESS_BATCHES = 2**48


def generator(seed: int, stream: int, epoch: int, index: int, copy: int = 0) -> np.random.Generator:
    """Return the random generator of one purpose (`stream`) at one position in the data.

    `copy` numbers the repetitions of an example in an epoch.
    """
    # Philox has a key and a counter, so the five numbers select disjoint sequences. Hashing them
    # into one seed could give two positions the same sequence.
    key: Any = _Key(seed, stream)  # NumPy's annotations lack ISeedSequence
    counter = np.array([0, copy, epoch, index], np.uint64)
    return np.random.Generator(np.random.Philox(key, counter=counter))


class _Key(ISeedSequence):
    """Gives Philox its key.

    A Philox with the argument `key` takes ten times as long: it also makes a seed from random
    numbers of the operating system, and never uses that seed.
    """

    def __init__(self, seed: int, stream: int):
        self._words = np.array([seed, stream], np.uint64)

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        return self._words


def evenly_spaced(size: int, limit: int | None) -> np.ndarray:
    """Return the indices of `size` examples, or `limit` evenly spaced indices."""
    count = min(size, limit or size)
    return np.arange(count) * size // max(count, 1)


def in_threads(batches: "RandomAccessDataSource", num_threads: int) -> "grain.IterDataset":
    """Prefetch batches in threads: two batches per thread, and at least four."""
    import grain  # not needed for a prediction

    options = grain.ReadOptions(
        num_threads=num_threads, prefetch_buffer_size=max(4, 2 * num_threads)
    )
    return grain.MapDataset.source(batches).to_iter_dataset(options)
