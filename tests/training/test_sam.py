"""Sharpness-aware minimisation: the gradient uphill, everything else from the weights."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.config import default_config
from netzoo.training.state import Skipping
from tests.training.toy import state_and_step, toy

RHO = {"optimizer.sam_rho": 0.5}


class Bowl:
    """The loss `(x^2 + 4 y^2) / 2`; `frozen` has no gradient."""

    steps_per_epoch = 5

    def init(self, key):
        return {"params": {"w": jnp.array([2.0, 1.0]), "frozen": jnp.array([7.0])}}

    def loss(self, variables, batch, key):
        w = variables["params"]["w"]
        loss = (w[0] ** 2 + 4 * w[1] ** 2) / 2
        return loss, {}, {"loss": loss}


def test_a_step_by_hand():
    """Protects equation 2 and the algorithm: the gradient at `rho` along the unit gradient."""
    config = default_config()
    config.optimizer.update(name="sgd", momentum=0.0, learning_rate=0.1, sam_rho=0.5)
    config.schedule.name = "constant"
    config.optimizer.weight_decay_mults = ((".*", 1.0),)
    state, step = state_and_step(Bowl(), config)
    after, metrics = step(state, {})
    # The gradient at (2, 1) is (2, 4), and its norm is the root of 20.
    x, y = 2 + 0.5 * 2 / 20**0.5, 1 + 0.5 * 4 / 20**0.5
    np.testing.assert_allclose(after.params["w"], [2 - 0.1 * x, 1 - 0.1 * 4 * y], rtol=1e-6)
    assert float(after.params["frozen"][0]) == 7
    assert float(metrics["loss"]) == 4  # at (2, 1)
    assert float(metrics["grad_norm"]) == pytest.approx((x**2 + 16 * y**2) ** 0.5, rel=1e-6)


def test_statistics_and_loss_are_those_of_the_weights():
    """Protects BatchNorm: the second pass changes no running statistics."""
    _, state, plain, batch = toy()
    _, _, sam, _ = toy(**RHO)
    (one, losses), (two, sam_losses) = jax.jit(plain)(state, batch), jax.jit(sam)(state, batch)
    chex.assert_trees_all_close(two.model_state, one.model_state, rtol=1e-6, atol=1e-7)
    assert float(sam_losses["loss"]) == pytest.approx(float(losses["loss"]), rel=1e-6)
    assert float(sam_losses["grad_norm"]) != pytest.approx(float(losses["grad_norm"]), rel=1e-3)


def test_accumulation_goes_uphill_along_the_whole_batch():
    """Protects accumulation: the parts share one direction, as they do without accumulation."""
    _, state, whole, batch = toy(0.0, **RHO)
    batch = jax.tree.map(lambda x: jnp.repeat(x[:4], 2, axis=0), batch)
    _, _, parts, _ = toy(0.0, **RHO, **{"train.grad_accum_steps": 2})
    _, one = jax.jit(whole)(state, batch)
    _, two = jax.jit(parts)(state, batch)
    np.testing.assert_allclose(one["grad_norm"], two["grad_norm"], rtol=1e-5)


def test_a_bad_batch_is_skipped():
    """Protects skipping: a gradient that is not finite in the first pass leaves the state alone."""
    _, state, step, batch = toy(**RHO, **{"train.on_nonfinite": "skip"})
    batch["x"] = batch["x"].at[0, 0].set(jnp.inf)
    after, metrics = jax.jit(step)(state, batch)
    assert isinstance(after.opt_state, Skipping) and int(metrics["skipped"]) == 1
    chex.assert_trees_all_equal(after.params, state.params)
