"""Schedule-free optimizers, against the formulas of the paper and against optax."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from netzoo.config import default_config
from netzoo.training.average import create_decay, kind
from netzoo.training.state import TrainState
from tests.training.toy import state_and_step

RNG = np.random.default_rng(0)
FIRST, CURVATURES = RNG.normal(size=3), np.array([3.0, 0.5, 1.0])
TARGETS = RNG.normal(size=(10, 3)) + 2
# Ten steps are two epochs of the toy tasks, and the rate rises over the first three.
OPTIONS = {"learning_rate": 0.2, "weight_decay": 0.3, "b1": 0.8, "b2": 0.9, "epsilon": 0.01}


class Bowl:
    """The loss `sum(curvature * (w - target)^2) / 2` over a kernel and a bias."""

    steps_per_epoch = 5

    def init(self, key):
        kernel, bias = jnp.split(jnp.asarray(FIRST, jnp.float32), [2])
        statistics = {"batch_stats": {"mean": jnp.zeros(())}}
        return {"params": {"kernel": kernel, "bias": bias}, **statistics}

    def loss(self, variables, batch, key):
        w = jnp.concatenate([variables["params"]["kernel"], variables["params"]["bias"]])
        loss = jnp.sum(CURVATURES * (w - batch) ** 2) / 2
        return loss, {"batch_stats": {"mean": batch.mean()}}, {"loss": loss}


def run(name, warmup=3, **options):
    """Return the trained and the averaged weights of the bowl after each of ten steps."""
    config = default_config()
    config.train.epochs = 2
    config.schedule.update(name="constant", warmup_epochs=warmup / 5)
    config.optimizer.update(name=name, **OPTIONS | options)
    config.optimizer.weight_decay_mults = (("bias", 0.0), (".*", 1.0))
    config.optimizer.lr_mults = (("bias", 0.5), (".*", 1.0))
    assert kind(config) == "schedule_free"
    state, step = state_and_step(Bowl(), config)
    step, found = jax.jit(step), []
    for target in TARGETS:
        state, _ = step(state, jnp.asarray(target, jnp.float32))
        pair = [
            jnp.concatenate([t["kernel"], t["bias"]]) for t in (state.params, state.ema["params"])
        ]
        found.append(pair)
    return np.array(found)


def reference(name, warmup):
    """Algorithm 1 of arXiv:2405.15682, for SGD without the division by squares.

    As in optax, the weights are squared learning rates without Adam's correction of the bias.
    """
    b1, b2 = OPTIONS["b1"], OPTIONS["b2"]
    z, x, squares, total, found = FIRST, FIRST, np.zeros(3), 0.0, []
    for number, target in enumerate(TARGETS):
        rate = OPTIONS["learning_rate"] * min(1.0, number / warmup if warmup else 1.0)
        y = (1 - b1) * z + b1 * x
        g = CURVATURES * (y - target)
        decay = OPTIONS["weight_decay"] * y * [1, 1, 0]
        if name == "schedule_free_adamw":
            squares = b2 * squares + (1 - b2) * g**2
            g = g / (np.sqrt(squares / (1 - b2 ** (number + 1))) + OPTIONS["epsilon"])
        z = z - rate * np.array([1, 1, 0.5]) * (g + decay)
        total += rate**2
        share = rate**2 / total if total else 0.0
        x = (1 - share) * x + share * z
        found.append((z, x))
    return np.array(found)


@pytest.mark.parametrize(
    ("name", "warmup"),
    [("schedule_free_adamw", 3), ("schedule_free_sgd", 0), ("schedule_free_sgd", 1)],
)
def test_ten_steps_are_those_of_the_formulas(name, warmup):
    """Protects both sequences: the point of the gradient and of the decay, weights, factors."""
    # Ten steps of float32 against float64.
    np.testing.assert_allclose(run(name, warmup), reference(name, warmup), rtol=1e-5, atol=1e-6)


def test_steps_are_those_of_optax():
    """Protects the agreement with optax, which stores y and computes x from y and z."""
    # optax counts from 1 for the average, and from 0 for the inner optimizer.
    inner = optax.chain(optax.add_decayed_weights(0.3), optax.sgd(0.2))
    optimizer = optax.contrib.schedule_free(inner, 0.2, b1=0.6)
    y = jnp.asarray(FIRST[:2], jnp.float32)
    update, state, expected = jax.jit(optimizer.update), optimizer.init(y), []
    for target in TARGETS:
        updates, state = update(CURVATURES[:2] * (y - target[:2]), state, y)
        y = optax.apply_updates(y, updates)
        expected.append((state.z, optax.contrib.schedule_free_eval_params(state, y)))
    found = run("schedule_free_sgd", warmup=0, b1=0.6)[..., :2]
    np.testing.assert_allclose(found, np.array(expected), rtol=1e-5, atol=1e-6)


def test_the_share_of_the_average_matters():
    """Protects `optimizer.b1`; 0 takes the gradient at the trained weights."""
    none, z = run("schedule_free_sgd", b1=0.0), FIRST
    assert np.abs(none - reference("schedule_free_sgd", 3)).max() > 0.01
    for number, target in enumerate(TARGETS):
        g = CURVATURES * (z - target) + OPTIONS["weight_decay"] * z * [1, 1, 0]
        z = z - 0.2 * min(1.0, number / 3) * np.array([1, 1, 0.5]) * g
    np.testing.assert_allclose(none[-1, 0], z, rtol=1e-5)


def test_weights_of_a_long_run():
    """Protects the sum of the squares from rounding: a million updates, 10,000 of warm-up."""
    config = default_config()
    config.train.epochs, config.optimizer.name = 100, "schedule_free_sgd"
    config.schedule.update(name="constant", warmup_epochs=1.0)
    decay = create_decay(config, 10_000)
    weights = np.minimum(np.arange(1_000_000) / 10_000, 1) ** 2
    sums = np.cumsum(weights)
    for updates in (1, 2, 100, 9_999, 10_000, 10_001, 999_999):
        state = TrainState.create({"params": {}}, optax.identity(), jax.random.key(0), ema=True)
        state = state.replace(step=jnp.int32(updates))
        found = float(decay(state, state.replace(step=state.step + 1)))
        # float32 holds decays near 1 in steps of 6e-8.
        assert found == pytest.approx(sums[updates - 1] / sums[updates], rel=1e-6, abs=1e-7)


def test_statistics_are_the_newest_and_skipped_steps_do_not_count():
    """Protects BatchNorm from statistics of early weights, and the average from a bad batch."""
    config = default_config()
    config.optimizer.name, config.schedule.name = "schedule_free_sgd", "constant"
    config.train.on_nonfinite = "skip"
    config.optimizer.weight_decay_mults = ((".*", 1.0),)
    state, step = state_and_step(Bowl(), config)
    step = jax.jit(step)
    for target in (1.0, 2.0, np.nan, 3.0):
        before, (state, _) = state, step(state, jnp.full(3, target))
        if np.isnan(target):
            jax.tree.map(np.testing.assert_array_equal, state.ema, before.ema)
        else:
            assert float(state.ema["batch_stats"]["mean"]) == target
    # The third update that counts has a third of the average.
    expected = jax.tree.map(lambda x, z: (2 * x + z) / 3, before.ema["params"], state.params)
    chex.assert_trees_all_close(state.ema["params"], expected, rtol=1e-6)
