"""The order of examples without names."""

import numpy as np


def mixed_order(count: int) -> np.ndarray:
    """Return the numbers below `count` in an order that mixes the classes of sorted examples.

    The order depends on `count` alone, on every machine and with every version of NumPy: Philox's
    raw output is its specification (Salmon et al., "Parallel random numbers", SC 2011).
    """
    return np.argsort(np.random.Philox(key=0).random_raw(count), kind="stable")
