"""Orders that mix the examples of a split: of examples with names, and of a number of examples.

Many data sets are sorted by class. These orders spread the classes over all slices of a split.
"""

import hashlib
import os

import numpy as np


def hash_order(name: str) -> bytes:
    """Return a key that sorts names in an order without meaning, the same on every machine."""
    return hashlib.sha256(os.fsencode(name)).digest()


def mixed_order(count: int) -> np.ndarray:
    """Return the numbers below `count` in an order that mixes the classes of sorted examples.

    The order depends on `count` alone, on every machine and with every version of NumPy: Philox's
    raw output is its specification (Salmon et al., "Parallel random numbers", SC 2011).
    """
    return np.argsort(np.random.Philox(key=0).random_raw(count), kind="stable")
