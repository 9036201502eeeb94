"""The averages of weights, against their definitions."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from netzoo.config import default_config
from netzoo.training.average import create_decay, kind
from netzoo.training.state import Skipping, TrainState
from tests.training.toy import toy

WEIGHTS = np.random.default_rng(0).normal(size=20).astype(np.float32)


def averages(skipped=(), steps_per_epoch=5, **train):
    """Return the average after each step of a run whose weights are 3, and then WEIGHTS."""
    config = default_config()
    config.train.update(epochs=4, **train)
    decay = create_decay(config, steps_per_epoch)
    key = jax.random.key(0)
    state = TrainState.create(
        {"params": jnp.float32(3)}, optax.identity(), key, ema=True, skip=bool(skipped)
    )
    average, found = 3.0, []
    for number, weight in enumerate(WEIGHTS, start=1):
        new = state.replace(step=state.step + 1)
        if number in skipped:
            new = new.replace(opt_state=new.opt_state._replace(total=new.opt_state.total + 1))
        share = float(decay(state, new))
        average = share * average + (1 - share) * float(weight)
        found.append(average)
        state = new
    return np.array(found)


@pytest.mark.parametrize("decay", [0.9, 0.9999])
def test_debiased_average_is_that_of_optax(decay):
    """Protects the correction: the average of one weight is this weight, whatever the decay."""
    reference = optax.ema(decay, debias=True)
    state, expected = reference.init(jnp.float32(0)), []
    for weight in WEIGHTS:
        average, state = reference.update(jnp.float32(weight), state)
        expected.append(float(average))
    # optax computes 1 - decay^n in float32.
    tolerance = {"rtol": 1e-3, "atol": 1e-4} if decay == 0.9999 else {"rtol": 2e-5}
    found = averages(ema_decay=decay, ema_warmup="debias")
    np.testing.assert_allclose(found, expected, **tolerance)
    powers = decay ** np.arange(20.0)
    exact = np.convolve(powers, WEIGHTS)[:20] / np.cumsum(powers)
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-6)


def test_average_without_warmup_starts_at_the_initial_weights():
    """Protects the plain recursion of timm and others."""
    expected, average = [], 3.0
    for weight in WEIGHTS:
        average = 0.9 * average + 0.1 * weight
        expected.append(average)
    np.testing.assert_allclose(averages(ema_decay=0.9, ema_warmup="none"), expected, rtol=1e-5)


@pytest.mark.parametrize("warmup", ["num_updates", "debias", "none"])
def test_skipped_steps_do_not_count(warmup):
    """Protects the moving average from weights that it has already."""
    found = averages(skipped=(4, 5, 9), ema_decay=0.9, ema_warmup=warmup)
    assert found[2] == found[3] == found[4] and found[7] == found[8] != found[9]


def test_swa_is_the_mean_of_the_last_epochs():
    """Protects Izmailov et al., section 3.2, with one weight per epoch."""
    found = averages(swa_epochs=3)
    # A copy until the end of the first epoch, and then unchanged until the end of the next one.
    np.testing.assert_allclose(found[:5], WEIGHTS[:5])
    ends = WEIGHTS[[9, 14, 19]]
    np.testing.assert_allclose(found[[4, 8]], WEIGHTS[4])
    np.testing.assert_allclose(found[[9, 13]], ends[0])
    np.testing.assert_allclose(found[[14, 18]], ends[:2].mean(), rtol=1e-6)
    np.testing.assert_allclose(found[19], ends.mean(), rtol=1e-6)
    every = WEIGHTS[4::5]
    for epochs in (4, 99):  # at most all epochs
        np.testing.assert_allclose(averages(swa_epochs=epochs)[-1], every.mean(), rtol=1e-6)
    assert averages(swa_epochs=1)[-1] == pytest.approx(WEIGHTS[-1])


def test_swa_of_real_steps():
    """Protects the step: weights and statistics are averaged, also those that a skip kept."""
    options = {"train.ema_decay": 0.0, "train.swa_epochs": 2, "train.epochs": 2}
    config, state, step, batch = toy(**options, **{"train.on_nonfinite": "skip"})
    assert kind(config) == "swa" and isinstance(state.opt_state, Skipping)
    step, ends = jax.jit(step), []
    bad = {**batch, "x": batch["x"].at[0, 0].set(jnp.nan)}
    for number in range(1, 11):
        state, _ = step(state, bad if number in (3, 5) else batch)
        if number % 5 == 0:
            ends.append(jax.tree.map(np.float64, state.variables))
    expected = jax.tree.map(lambda *weights: np.mean(weights, axis=0), *ends)
    chex.assert_trees_all_close(state.ema, expected, rtol=1e-6, atol=1e-7)
    assert set(state.ema) == {"params", "batch_stats"}
