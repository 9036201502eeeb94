"""What the pipelines of all tasks share: random numbers by position, and threads that prefetch.

Batch `i` is a pure function of the seed and `i`. A position in the data is therefore one number,
`next_index` in `iterator.get_state()`, and neither the number of threads nor a restart changes a
byte.
"""

import grain
import numpy as np
from grain.sources import RandomAccessDataSource

# Enough epochs for any run, and few enough that Grain's batch numbers stay 64-bit integers.
ENDLESS_BATCHES = 2**48


def generator(seed: int, stream: int, epoch: int, index: int) -> np.random.Generator:
    """Returns the random numbers of one purpose (`stream`) at one place of the data."""
    # Philox has a key and a counter. The four numbers select disjoint stretches of random numbers;
    # hashing them into one seed could give two places the same numbers.
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, epoch, index]))


def evenly_spaced(size: int, limit: int | None) -> np.ndarray:
    """Returns the indices of `size` examples, or of `limit` of them that are evenly spaced."""
    count = min(size, limit or size)
    return np.arange(count) * size // max(count, 1)


def in_threads(batches: RandomAccessDataSource, num_threads: int) -> grain.IterDataset:
    """Makes batches in threads ahead of their use: two batches a thread, and at least four."""
    options = grain.ReadOptions(
        num_threads=num_threads, prefetch_buffer_size=max(4, 2 * num_threads)
    )
    return grain.MapDataset.source(batches).to_iter_dataset(options)
