"""Exact evaluation: every example once, whatever the batch size and the number of devices."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

Tree = Any


def evaluate(
    sums_of: Callable[[Tree, Tree], Tree],
    variables: Tree,
    batches: Iterable[Tree],
    put: Callable[[Tree], Tree] = jax.device_put,
    on_batch: Callable[[], None] = lambda: None,
) -> dict[str, np.ndarray]:
    """Adds up the sums of all batches.

    The device works on one batch while the next is loaded; nothing waits for it until the end.

    Args:
      sums_of: Compiled `Task.evaluation_sums`.
      variables: Variables of the network.
      batches: Masked batches of one shape.
      put: Places a batch on the devices.
      on_batch: Called after each batch is dispatched.

    Returns:
      Counts as int64 and sums as float64: adding up to 2^53 examples loses nothing.
    """
    results = []
    for batch in batches:
        results.append(sums_of(variables, put(batch)))
        on_batch()

    def total(*values):
        values = np.stack([np.asarray(value) for value in values])
        wide = np.float64 if np.issubdtype(values.dtype, np.floating) else np.int64
        return values.sum(0, dtype=wide)

    return jax.tree.map(total, *results)
