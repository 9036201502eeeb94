"""The order of the training examples in an epoch, a function of the seed and the epoch."""

import functools
from collections.abc import Sequence

import numpy as np

from netzoo.data.batching import generator

_SHUFFLE_STREAM = 1


class ClassBalance:
    """Chooses the examples of an epoch so that all classes are equally frequent.

    An epoch has as many examples as without the balance. Each class has an equal share of them,
    within one example. All examples of a class occur before one of them occurs again.
    """

    def __init__(self, labels: Sequence[int] | np.ndarray):
        """Group examples by their labels `[N]`; those with a label below 0 are never chosen."""
        labels = np.asarray(labels)
        readable = np.flatnonzero(labels >= 0)
        order = readable[np.argsort(labels[readable], kind="stable")]
        self._members = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)

    def choose(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return `[count, 2]`: indices of examples, and how often each has occurred before."""
        classes = len(self._members)
        shares = count // classes + (rng.permutation(classes) < count % classes)
        parts = []
        for members, share in zip(self._members, shares.tolist(), strict=True):
            passes = -(-share // len(members))
            drawn = [rng.permutation(members) for _ in range(passes)]
            indices = np.concatenate([members[:0], *drawn])[:share]
            parts.append(np.stack([indices, np.arange(share) // len(members)], axis=-1))
        return rng.permutation(np.concatenate(parts))


@functools.lru_cache(maxsize=2)  # threads work on neighbouring batches, from at most two epochs
def epoch_order(
    seed: int, epoch: int, count: int, repeats: int = 1, balance: ClassBalance | None = None
) -> np.ndarray:
    """Return the examples of an epoch as `[count, 2]`: the index, and the number of the copy.

    With `repeats`, the copies of an example follow each other.
    """
    rng = generator(seed, _SHUFFLE_STREAM, epoch, 0)
    if balance is None:
        order = np.stack([rng.permutation(count), np.zeros(count, int)], axis=-1)
    else:
        order = balance.choose(count, rng)
    position, copy = np.divmod(np.arange(count), repeats)
    return order[position] * (1, repeats) + np.stack([np.zeros_like(copy), copy], axis=-1)
