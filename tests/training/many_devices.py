"""Trains a small network on eight virtual devices in several layouts; started by test_sharding.py.

JAX_NUM_CPU_DEVICES=8 python -m tests.training.many_devices FOLDER

It writes one NPZ per layout, `DEVICES-FSDP.npz`, with the losses, every array of the last state by
its path, and the counts. JAX creates the devices when it starts, so this needs a separate process.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from netzoo.cli.plan.estimate import Estimate, estimate
from netzoo.config import default_config
from netzoo.mesh import batch_placer, create_mesh
from netzoo.training.evaluation import evaluate, make_eval_step
from netzoo.training.patterns import path_name
from netzoo.training.step import build_train_program
from tests.training.test_step import ToyTask

STEPS, ROWS, EXAMPLES = 20, 16, 37
LAYOUTS = ((1, 1), (2, 1), (8, 1), (8, 2), (8, 8))  # devices, and how many share parameters


class CountingTask(ToyTask):
    """The toy with the evaluation that the loop compiles: counts of examples and correct labels."""

    def evaluation_sums(self, variables, batch):
        logits = self._net.apply(variables, batch["x"], train=False)
        right = (logits.argmax(-1) == batch["label"]) & batch["mask"]
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        return {
            "count": batch["mask"].sum(),
            "correct": right.sum(),
            "loss_sum": jnp.where(batch["mask"], losses, 0).sum(),
        }


def batches(count: int, seed: int):
    """Yield batches of random vectors and labels; those beyond EXAMPLES are masked."""
    rng = np.random.default_rng(seed)
    for first in range(0, count * ROWS, ROWS):
        yield {
            "x": rng.normal(3, 2, (ROWS, 6)).astype(np.float32),
            "label": rng.integers(0, 2, ROWS).astype(np.int32),
            "mask": first + np.arange(ROWS) < EXAMPLES,
        }


def train(devices: int, fsdp: int, trained: dict) -> dict[str, np.ndarray]:
    """Take the same steps as the loop, and return the values to compare.

    It evaluates its own weights, and those of the first layout, which are in `trained`.
    """
    config = default_config()
    config.train.ema_decay = 0.9
    config.train.clip_norm = 1.0
    config.optimizer.weight_decay = 0.01
    config.optimizer.learning_rate = 0.1
    config.optimizer.epsilon = 1e-3
    config.sharding.min_size = 8
    mesh = create_mesh(fsdp, jax.devices()[:devices])
    task, put = CountingTask(), batch_placer(mesh)
    program = build_train_program(config, task, mesh)
    state, step = program.init(None), program.step
    eval_step = make_eval_step(task.evaluation_sums, mesh)
    rows = next(batches(1, seed=0))
    del rows["mask"]  # not used in training, and not an input of the compiled step
    compiled = step.lower(state, put(rows)).compile()
    arguments = compiled.memory_analysis().argument_size_in_bytes
    planned = figures(estimate(config, task, rows, devices, fsdp=fsdp))
    guessed = planned
    if devices > 2:
        guessed = figures(estimate(config, task, rows, devices, fsdp=fsdp, max_devices=2))
    losses = []
    for batch in batches(STEPS, seed=0):
        state, metrics = step(state, put(batch))
        losses.append(float(metrics["loss"]))
    variables = state.evaluation_variables
    trained.setdefault("variables", jax.device_get(variables))
    places = jax.tree.map(lambda x: x.sharding, variables)
    sums, same = (
        evaluate(eval_step, weights, batches(3, seed=1), put)
        for weights in (variables, jax.device_put(trained["variables"], places))
    )
    flat = jax.tree_util.tree_leaves_with_path(state)
    first = jax.devices()[0]
    kept = sum(s.data.nbytes for _, x in flat for s in x.addressable_shards if s.device == first)
    return {
        **{f"state/{path_name(path)}": np.asarray(leaf) for path, leaf in flat},
        "losses": np.array(losses),
        "bytes": np.array(kept),
        "compilations": np.array([step._cache_size(), eval_step._cache_size()]),
        "arguments": np.array(arguments),
        "planned": np.array(planned),
        "guessed": np.array(guessed),
        **sums,
        **{f"same/{name}": value for name, value in same.items()},
    }


def figures(planned: Estimate) -> tuple[float, ...]:
    """Return the values of an estimate to compare; the first three are exact."""
    kept = planned.arguments - planned.batch
    exact = (planned.arguments, kept, planned.parameters)
    return (*exact, planned.temporaries, planned.flops, planned.sent)


def main(folder: str) -> None:
    """Train in every layout."""
    trained: dict = {}
    for devices, fsdp in LAYOUTS:
        found = train(devices, fsdp, trained)
        np.savez(Path(folder) / f"{devices}-{fsdp}.npz", **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
