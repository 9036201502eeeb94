"""Exact evaluation: every example once, for any batch size and number of devices."""

from collections.abc import Callable, Iterable

import jax
import numpy as np
from chex import ArrayTree
from jax.sharding import Mesh

from netzoo import kernels
from netzoo import mesh as meshes
from netzoo.kernels import compiler_options


def make_eval_step(
    sums_of: Callable[[ArrayTree, ArrayTree], ArrayTree], mesh: Mesh, precision: str = "default"
) -> Callable[[ArrayTree, ArrayTree], ArrayTree]:
    """Compile `Task.evaluation_step`, or another evaluation, for all devices of a mesh.

    The variables may have any sharding. Every device, and therefore every process, gets the sums.
    For `precision`, see `netzoo.kernels.use_precision`.
    """
    everywhere = meshes.replicated(mesh)

    @kernels.use_backend(kernels.backend(mesh))
    @kernels.use_precision(precision)
    def sums(variables, batch):
        return sums_of(jax.lax.with_sharding_constraint(variables, everywhere), batch)

    return jax.jit(sums, out_shardings=everywhere, compiler_options=compiler_options(mesh))


def evaluate(
    eval_step: Callable[[ArrayTree, ArrayTree], ArrayTree],
    variables: ArrayTree,
    batches: Iterable[ArrayTree],
    put: Callable[[ArrayTree], ArrayTree] = jax.device_put,
    after_batch: Callable[[int, ArrayTree], None] = lambda number, sums: None,
) -> dict[str, np.ndarray]:
    """Sum `Task.evaluation_sums` over all batches.

    The device computes one batch while the host loads the next; the host waits only at the end.
    `eval_step` comes from `make_eval_step`, and `put` places a batch on the devices. After every
    batch, `after_batch` gets the number of batches so far and the sums of this batch, which the
    device may not have finished. It can raise an error to end the evaluation.

    Returns:
      Counts in int64, which are exact, and all other sums in float64.
    """
    results = []
    for number, batch in enumerate(batches, start=1):
        results.append(eval_step(variables, put(batch)))
        after_batch(number, results[-1])

    def total(*values):
        values = np.stack(values)
        wide = np.float64 if np.issubdtype(values.dtype, np.floating) else np.int64
        return values.sum(0, dtype=wide)

    return jax.tree.map(total, *jax.device_get(results))


def evaluate_rows(
    eval_step: Callable[[ArrayTree, ArrayTree], tuple[ArrayTree, ArrayTree]],
    variables: ArrayTree,
    batches: Iterable[ArrayTree],
    put: Callable[[ArrayTree], ArrayTree] = jax.device_put,
    after_batch: Callable[[int, ArrayTree], None] = lambda number, sums: None,
) -> tuple[dict[str, np.ndarray], ArrayTree]:
    """Return the sums of `evaluate`, and the rows of all batches in order, padding included.

    `eval_step` comes from `make_eval_step` for `Task.evaluation_step` or `Task.final_step`.
    """
    kept: list[ArrayTree] = []

    def sums_alone(variables, batch):
        sums, rows = eval_step(variables, batch)
        kept.append(rows)
        return sums

    sums = evaluate(sums_alone, variables, batches, put, after_batch)
    return sums, jax.tree.map(lambda *rows: np.concatenate(rows), *jax.device_get(kept))
