"""One training step: its exact numbers, what it changes, and accumulation."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.tasks import create_task
from netzoo.training.schedule import create_schedule
from netzoo.training.state import Skipping
from tests.conftest import slow, tiny_config
from tests.training.toy import ToyTask, state_and_step, toy

# At 32 px on the batch below, recorded on x86-64, jaxlib 0.10.2.
# Losses, norms of the gradient and norms of the update of three steps.
GOLDEN = {
    "mobilenet_v1": [
        {"loss": 1.07428358333, "grad_norm": 62.0104683476, "update_norm": 0.459398456775},
        {"loss": 1.00768140765, "grad_norm": 38.7412476433, "update_norm": 0.324053379386},
        {"loss": 0.95582005896, "grad_norm": 40.3224508012, "update_norm": 0.264691355146},
    ],
    "mobilenet_v2": [
        {"loss": 1.06733228699, "grad_norm": 278.141183773, "update_norm": 0.624332022068},
        {"loss": 1.02189197678, "grad_norm": 383.416254515, "update_norm": 0.443538229223},
        {"loss": 0.87652623272, "grad_norm": 266.130496251, "update_norm": 0.357189143264},
    ],
}


@pytest.mark.parametrize(("name", "width"), [("mobilenet_v1", 0.25), slow("mobilenet_v2", 0.35)])
def test_golden_steps(name, width, pictures):
    """Protects the numerics of the whole step: network, loss, mixup, dropout, decay, optimizer.

    In float64, because in float32 rounding moves activations across the kink of a ReLU: the norm of
    this gradient then differs by 0.6 % between two releases of XLA. Only the order of sums may
    still differ. A larger difference means that training now computes something else: update the
    numbers only if that is intended, say so in the commit, and repeat the runs in results/.
    """
    config = tiny_config(pictures)
    config.model.update(name=name, width_multiplier=width)
    config.schedule.warmup_epochs = 0.0
    task = create_task(config)
    rng = np.random.default_rng(0)
    batch = {
        "image": jnp.asarray(rng.integers(0, 256, (8, 32, 32, 3)), jnp.uint8),
        "label": jnp.asarray(rng.integers(0, 3, 8), jnp.int32),
    }
    with jax.enable_x64(True):
        state, step = state_and_step(task, config)
        task.model = task.model.clone(dtype=jnp.float64)
        state = jax.tree.map(
            lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, state
        )
        step = jax.jit(step)
        for golden in GOLDEN[name]:
            state, metrics = step(state, batch)
            found = {key: float(metrics[key]) for key in golden}
            assert found == pytest.approx(golden, rel=1e-9), (
                f"a training step gives {found}, the golden numbers are {golden}; see this test's "
                "docstring for when to change them"
            )


def test_everything_moves_once():
    """Protects against forgotten state: each part changes, and the step counts one."""
    _, state, step, batch = toy()
    after, _ = jax.jit(step)(state, batch)
    assert int(after.step) == 1
    chex.assert_trees_all_equal(after.key, state.key)
    for part in ("params", "model_state", "ema"):
        old, new = jax.tree.leaves(getattr(state, part)), jax.tree.leaves(getattr(after, part))
        still = sum(np.array_equal(a, b) for a, b in zip(old, new, strict=True))
        assert still == 0, f"{still} of {len(old)} leaves of {part} did not change"


def test_one_compilation():
    """Protects against recompiling: the second step has the shapes and types of the first."""
    _, state, step, batch = toy()
    counted = jax.jit(chex.assert_max_traces(step, n=1))
    for _ in range(3):
        state, _ = counted(state, batch)


def test_key_gives_other_noise_each_step():
    """Protects against repeated noise: two steps differ even with a frozen network."""
    _, state, step, batch = toy(**{"optimizer.learning_rate": 0.0})
    step = jax.jit(step)
    after, first = step(state, batch)
    _, second = step(after, batch)
    assert float(first["loss"]) != float(second["loss"])


def test_accumulation_equals_one_batch_without_batch_statistics():
    """Protects the mean over parts: with equal parts the gradient is that of the whole batch.

    The parts are equal (the same four examples twice), because BatchNorm sees one part at a time.
    The tolerance, 1e-5 of the largest gradient norm, allows for another order of float32 sums.
    """
    _, state, whole, batch = toy(0.0)
    # The parts are rows 0, 2, 4, ... and 1, 3, 5, ...
    batch = jax.tree.map(lambda x: jnp.repeat(x[:4], 2, axis=0), batch)
    _, _, parts, _ = toy(0.0, **{"train.grad_accum_steps": 2})
    _, one = jax.jit(whole)(state, batch)
    _, two = jax.jit(parts)(state, batch)
    np.testing.assert_allclose(one["loss"], two["loss"], rtol=1e-6)
    np.testing.assert_allclose(one["grad_norm"], two["grad_norm"], rtol=1e-5)


def test_ema_follows_parameters_and_statistics():
    """Protects the average: its first weight is 1/10, and it includes BatchNorm's statistics."""
    _, state, step, batch = toy()
    after, _ = jax.jit(step)(state, batch)
    expected = jax.tree.map(lambda old, new: 0.1 * old + 0.9 * new, state.ema, after.variables)
    chex.assert_trees_all_close(after.ema, expected, rtol=1e-6, atol=1e-7)
    assert set(after.ema) == {"params", "batch_stats"}


def test_average_of_ten_steps():
    """Protects the decay of the average: smaller in the first steps, then the configured value."""
    _, state, step, batch = toy(**{"train.ema_decay": 0.4})
    step, expected = jax.jit(step), jax.tree.map(np.float64, state.variables)
    for number in range(10):
        state, _ = step(state, batch)
        decay = min(0.4, (1 + number) / (10 + number))  # 0.4 from step 5 on
        expected = jax.tree.map(
            lambda old, new, d=decay: d * old + (1 - d) * np.float64(new), expected, state.variables
        )
    chex.assert_trees_all_close(state.ema, expected, rtol=1e-5, atol=1e-6)


def test_clipping_bounds_the_update():
    """Protects the order of the chain: clipping acts on the gradient, before the optimizer."""
    options = {"optimizer.name": "sgd", "optimizer.weight_decay": 0.0, "train.clip_norm": 0.5}
    config, state, step, batch = toy(**options)
    _, metrics = jax.jit(step)(state, batch)
    assert float(metrics["grad_norm"]) > 0.5
    expected = 0.5 * config.optimizer.learning_rate
    assert float(metrics["update_norm"]) == pytest.approx(expected, rel=1e-5)


def test_skipped_step_leaves_everything_but_the_counts():
    """Protects a run from a bad batch, which does not affect the next step."""
    _, state, step, batch = toy(**{"train.on_nonfinite": "skip"})
    step = jax.jit(step)
    state, good = step(state, batch)
    bad = {**batch, "x": batch["x"].at[0, 0].set(jnp.nan)}
    after, metrics = step(state, bad)
    assert not np.isfinite(metrics["loss"])
    assert (int(after.step), int(state.step)) == (2, 1)
    counts = after.opt_state
    chex.assert_trees_all_equal(counts.inner, state.opt_state.inner)
    after = after.replace(opt_state=state.opt_state)
    chex.assert_trees_all_equal(after.replace(step=state.step), state)
    after, _ = step(after.replace(opt_state=counts), bad)
    assert (int(after.opt_state.total), int(after.opt_state.in_a_row)) == (2, 2)
    after, metrics = step(after, batch)
    assert (int(metrics["skipped"]), int(metrics["skipped_in_a_row"])) == (2, 0)
    assert float(metrics["update_norm"]) > 0
    # The schedule counts updates, and this was the second.
    rate = create_schedule(toy()[0], ToyTask.steps_per_epoch)
    assert float(metrics["learning_rate"]) == pytest.approx(float(rate(1)))
    assert "skipped" in good


def test_a_step_whose_statistics_overflow_is_skipped():
    """Protects evaluation: the loss stays finite, but a running variance of inf would persist."""
    _, state, step, batch = toy(**{"train.on_nonfinite": "skip"})
    step = jax.jit(step)
    after, metrics = step(state, {**batch, "x": 1e25 * batch["x"]})
    assert np.isfinite(
        [float(metrics[name]) for name in ("loss", "grad_norm", "update_norm")]
    ).all()
    assert np.isinf(metrics["largest_statistic"]) and int(metrics["skipped"]) == 1
    chex.assert_trees_all_equal(after.model_state, state.model_state)
    chex.assert_trees_all_equal(after.ema, state.ema)
    _, metrics = step(state, batch)
    assert np.isfinite(metrics["largest_statistic"]) and int(metrics["skipped"]) == 0


def test_runs_that_stop_know_nothing_of_skipping():
    """Protects checkpoints and speed of other runs: state and metrics have no counts."""
    _, state, step, batch = toy()
    assert not isinstance(state.opt_state, Skipping)
    after, metrics = jax.eval_shape(step, state, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert "skipped" not in metrics
