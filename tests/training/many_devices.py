"""Trains a small network on eight virtual devices in several layouts; started by test_sharding.py.

JAX_NUM_CPU_DEVICES=8 python -m tests.training.many_devices FOLDER

Writes one NPZ a layout, `DEVICES-FSDP.npz`, with the losses, every array of the last state by its
path, and what was counted on the way. The devices are made when JAX starts, hence a process.
"""

import sys
from pathlib import Path

import jax
import numpy as np

from netzoo.config import default_config
from netzoo.evaluation.evaluate import evaluate
from netzoo.mesh import create_mesh
from netzoo.training.loop import _Run
from netzoo.training.patterns import path_name
from tests.training.test_step import ToyTask

STEPS, ROWS, EXAMPLES = 20, 16, 37
LAYOUTS = ((1, 1), (2, 1), (8, 1), (2, 2), (8, 2), (8, 8))  # devices, and those that share


class CountingTask(ToyTask):
    """The toy with the evaluation that the loop compiles: examples, and labels that are right."""

    def evaluation_sums(self, variables, batch):
        logits = self._net.apply(variables, batch["x"], train=False)
        right = (logits.argmax(-1) == batch["label"]) & batch["mask"]
        return {"count": batch["mask"].sum(), "correct": right.sum()}


def batches(count: int, seed: int):
    """Yields batches of random vectors and labels; those beyond EXAMPLES are masked."""
    rng = np.random.default_rng(seed)
    for first in range(0, count * ROWS, ROWS):
        yield {
            "x": rng.normal(3, 2, (ROWS, 6)).astype(np.float32),
            "label": rng.integers(0, 2, ROWS).astype(np.int32),
            "mask": first + np.arange(ROWS) < EXAMPLES,
        }


def train(devices: int, fsdp: int, folder: Path) -> dict[str, np.ndarray]:
    """Takes the steps as the loop does and returns what is compared."""
    config = default_config()
    config.train.ema_decay = 0.9
    config.train.clip_norm = 1.0
    config.optimizer.weight_decay = 0.01
    config.optimizer.learning_rate = 0.1
    config.optimizer.epsilon = 1e-3
    config.sharding.min_size = 8
    mesh = create_mesh(fsdp, jax.devices()[:devices])
    run = _Run(config, folder, CountingTask(), mesh)
    state, step = run._create(None)
    losses = []
    for batch in batches(STEPS, seed=0):
        state, metrics = step(state, run.put(batch))
        losses.append(float(metrics["loss"]))
    sums = evaluate(run.evaluation_step, state.evaluation_variables, batches(3, seed=1), run.put)
    flat = jax.tree_util.tree_leaves_with_path(state)
    first = jax.devices()[0]
    kept = sum(s.data.nbytes for _, x in flat for s in x.addressable_shards if s.device == first)
    return {
        **{f"state/{path_name(path)}": np.asarray(leaf) for path, leaf in flat},
        "losses": np.array(losses),
        "bytes": np.array(kept),
        "compilations": np.array(step._cache_size()),
        **sums,
    }


def main(folder: str) -> None:
    """Trains in every layout."""
    for devices, fsdp in LAYOUTS:
        found = train(devices, fsdp, Path(folder))
        np.savez(Path(folder) / f"{devices}-{fsdp}.npz", **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
