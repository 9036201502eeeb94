"""BatchNorm's statistics of averaged weights, estimated from training batches."""

import copy
import signal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from netzoo import mesh as meshes
from netzoo.config import default_config
from netzoo.errors import UserError
from netzoo.layers import BatchNorm
from netzoo.training import train
from netzoo.training.batch_stats import check_batch_norm, make_estimate
from netzoo.training.loop import TrainingLoop
from netzoo.training.state import TrainState
from tests.conftest import tiny_config
from tests.training.runs import assert_same_run

BATCHES = np.random.default_rng(0).normal(2, 3, (9, 8, 4)).astype(np.float32)


class Network(nn.Module):
    """BatchNorm of a scaled input."""

    norm_momentum: float = 0.9

    @nn.compact
    def __call__(self, x, *, train):
        scale = self.param("scale", nn.initializers.ones, (4,))
        return BatchNorm(self.norm_momentum, name="norm")(x * scale, train=train)


class Task:
    """Endless batches of known numbers."""

    model, constants = Network(), 1.0

    def init(self, key):
        return self.model.init(key, BATCHES[0], train=False)

    def with_constants(self, constants):
        task = copy.copy(self)
        task.constants = constants
        return task

    def train_iterator(self):
        return iter(BATCHES)

    def loss(self, variables, batch, key):
        y, state = self.model.apply(variables, batch, train=True, mutable=["batch_stats"])
        assert isinstance(self.constants, jax.core.Tracer)  # not part of the program
        return self.constants * y.sum() + jax.random.uniform(key), state, {}


def config(batches):
    result = default_config()
    result.train.update(ema_decay=0.9, batch_norm_batches=batches)
    return result


def test_statistics_are_the_means_of_those_of_the_batches():
    """Protects Izmailov et al., section 3.2: the statistics belong to the averaged weights."""
    task = Task()
    variables = task.init(jax.random.key(0))
    state = TrainState.create(variables, optax.identity(), jax.random.key(1), ema=True)
    ema = {**state.ema, "params": jax.tree.map(lambda x: 2 * x, state.ema["params"])}
    estimate = make_estimate(config(5), task, meshes.create_mesh())
    after = estimate(state.replace(ema=ema), jnp.asarray)
    inputs = 2 * BATCHES[:5].astype(np.float64)
    norm = after.ema["batch_stats"]["norm"]
    np.testing.assert_allclose(norm["mean"], inputs.mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(norm["var"], inputs.var(1).mean(0), rtol=1e-5)
    # Nothing else changes, not even the task.
    jax.tree.map(np.testing.assert_array_equal, after.replace(ema=None), state.replace(ema=None))
    jax.tree.map(np.testing.assert_array_equal, after.ema["params"], ema["params"])
    assert task.model.norm_momentum == 0.9


def test_networks_without_batch_norm_are_refused():
    """Protects from a key that does nothing."""
    assert make_estimate(config(0), Task(), meshes.create_mesh()) is None
    check_batch_norm(config(0), Task(), {})
    check_batch_norm(config(2), Task(), {"batch_stats": {}})
    with pytest.raises(UserError, match="batch_norm_batches is 2; expected 0 for mobilenet_v2"):
        check_batch_norm(config(2), Task(), {})
    grouped = config(0)
    grouped.train.batch_norm_groups = 2
    check_batch_norm(grouped, Task(), {"batch_stats": {}})
    with pytest.raises(UserError, match="batch_norm_groups is 2; expected 1 for mobilenet_v2"):
        check_batch_norm(grouped, Task(), {})


@pytest.mark.slow
def test_a_stopped_run_ends_like_another(pictures, tmp_path, monkeypatch):
    """Protects the average and its statistics in checkpoints, whenever a signal comes.

    Evaluations follow steps 10 and 20; signals come at step 10, before the estimate, and at 13.
    """
    run = tiny_config(pictures)
    run.train.update(ema_decay=0.0, swa_epochs=3, batch_norm_batches=2)
    run.schedule.update(name="plateau", plateau_epochs=1)
    assert train(run, tmp_path / "whole") == 0
    finish_step, pending = TrainingLoop.finish_step, [10, 13]

    def finish_and_signal(self, step, *rest):
        finish_step(self, step, *rest)
        if step in pending:
            pending.remove(step)
            signal.raise_signal(signal.SIGUSR1)

    monkeypatch.setattr(TrainingLoop, "finish_step", finish_and_signal)
    for status in (128 + signal.SIGUSR1, 128 + signal.SIGUSR1, 0):
        assert train(run, tmp_path / "stopped") == status
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")
