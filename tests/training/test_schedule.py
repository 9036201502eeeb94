"""Learning-rate schedules by name."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from netzoo.config import default_config
from netzoo.training.schedule import create_schedule, notes
from tests.training.toy import toy


def config(**options):
    """The defaults with a learning rate of 0.1 and the given keys."""
    result = default_config()
    result.optimizer.learning_rate = 0.1
    result.update_from_flattened_dict(options)
    return result


def test_cosine_with_warmup():
    """Protects the shape: 0, the peak after the warm-up, half of it midway, 0 at the end."""
    c = config(**{"schedule.warmup_epochs": 2.0, "train.epochs": 10})
    rate = create_schedule(c, steps_per_epoch=10)
    values = [float(rate(step)) for step in (0, 10, 20, 60, 100)]
    np.testing.assert_allclose(values, [0, 0.05, 0.1, 0.05, 0], atol=1e-7)
    # The first step has the rate 0, as docs/training.md says.
    assert float(rate(0)) == 0 and float(rate(1)) == pytest.approx(0.1 / 20)
    assert float(rate(40)) == pytest.approx(0.1 * (1 + math.cos(math.pi / 4)) / 2, rel=1e-6)


def test_exponential_is_a_staircase():
    """Protects MobileNet's schedule: constant within a stair, multiplied by the rate after it."""
    options = {"schedule.name": "exponential", "schedule.decay_rate": 0.5}
    rate = create_schedule(config(**options, **{"schedule.decay_epochs": 2.0}), 10)
    np.testing.assert_allclose([float(rate(s)) for s in (0, 19, 20, 40)], [0.1, 0.1, 0.05, 0.025])


def test_inverse_square_root_is_the_formula_of_the_paper():
    """Protects section 5.3: width^-0.5 min(step^-0.5, step warmup^-1.5), with 1-based steps."""
    width, warmup = 512, 40
    peak = (width * warmup) ** -0.5
    options = {"schedule.name": "inverse_sqrt", "schedule.warmup_epochs": 4.0}
    rate = create_schedule(config(**options, **{"optimizer.learning_rate": peak}), 10)
    steps = np.array([1, 10, 40, 41, 90, 4000])
    paper = width**-0.5 * np.minimum(steps**-0.5, steps * warmup**-1.5)
    np.testing.assert_allclose([float(rate(step)) for step in steps], paper, rtol=1e-6)


@pytest.mark.parametrize("epochs", [1, 3, 5])
def test_a_warmup_as_long_as_the_run_is_half_of_it(epochs):
    """Protects a short trial of a long recipe: the rate reaches its peak, and falls again."""
    short = create_schedule(config(**{"schedule.warmup_epochs": 5.0, "train.epochs": epochs}), 10)
    half = {"schedule.warmup_epochs": epochs / 2, "train.epochs": epochs}
    assert [float(short(step)) for step in range(10 * epochs)] == [
        float(create_schedule(config(**half), 10)(step)) for step in range(10 * epochs)
    ]
    assert float(short(5 * epochs)) == pytest.approx(0.1)


def test_constant_stays():
    """Protects the simplest schedule."""
    rate = create_schedule(config(**{"schedule.name": "constant"}), 10)
    assert float(rate(0)) == float(rate(99)) == pytest.approx(0.1)


def numpy_rates(name, steps):
    """Rates with a peak of 0.1 after a warm-up of 15 steps; the run has 60, a stair has 10."""
    warm, rest = 0.1 * np.minimum(steps / 15, 1), np.maximum(steps - 15, 0)
    return (
        warm
        * {
            "constant": 1.0,
            "cosine": (1 + np.cos(np.pi * rest / 45)) / 2,
            "exponential": 0.7 ** (rest // 10),
            "inverse_sqrt": (15 / (15 + rest)) ** 0.5,
        }[name]
    )


@pytest.mark.parametrize("name", ["constant", "cosine", "exponential", "inverse_sqrt"])
def test_every_rate_of_a_run(name):
    """Protects each step of each schedule, by the formulas in NumPy."""
    options = {"schedule.name": name, "schedule.warmup_epochs": 1.5, "train.epochs": 6}
    options |= {"schedule.decay_rate": 0.7, "schedule.decay_epochs": 1.0}
    rate, steps = create_schedule(config(**options), 10), np.arange(61)
    found = [float(rate(step)) for step in jnp.asarray(steps)]
    np.testing.assert_allclose(found, numpy_rates(name, steps), rtol=2e-6, atol=1e-8)


def rates(options, epochs, steps_per_epoch=10):
    """Every rate of a run, and the one after it, as NumPy array."""
    rate = create_schedule(config(**options, **{"train.epochs": epochs}), steps_per_epoch)
    return every(rate, epochs * steps_per_epoch + 1)


def every(rate, steps):
    """The rates of the first steps."""
    return np.asarray(jax.jit(jax.vmap(rate))(jnp.arange(steps)))


def test_onecycle_is_that_of_optax_and_pytorch():
    """Protects the two phases, with the defaults of both libraries: 0.3, 25 and 1e4."""
    found = rates({"schedule.name": "onecycle", "schedule.final_factor": 1 / 25 / 1e4}, 6)
    reference = optax.cosine_onecycle_schedule(60, 0.1, 0.3, 25.0, 1e4)
    np.testing.assert_allclose(found, every(reference, 61), rtol=1e-6)
    # The definition in NumPy: half a cosine between the values at steps 0, 18 and 60.
    up, down = np.arange(18) / 18, np.arange(43) / 42
    rise = 0.1 + (0.004 - 0.1) * (1 + np.cos(np.pi * up)) / 2
    fall = 4e-7 + (0.1 - 4e-7) * (1 + np.cos(np.pi * down)) / 2
    np.testing.assert_allclose(found, [*rise, *fall], rtol=2e-5, atol=1e-8)
    assert rates({"schedule.name": "onecycle", "schedule.pct_start": 0.0}, 2)[0] == np.float32(0.1)


def test_restarts_are_those_of_optax():
    """Protects SGDR, after a warm-up, with cycles of 10, 20 and 40 steps, the last one cut."""
    options = {"schedule.name": "cosine_restarts", "schedule.warmup_epochs": 0.5}
    options |= {"schedule.cycle_epochs": 1.0, "schedule.cycle_factor": 2.0}
    found = rates(options | {"schedule.final_factor": 0.1}, 6)
    cycle = {"init_value": 0.1, "peak_value": 0.1, "warmup_steps": 0, "end_value": 0.01}
    reference = optax.sgdr_schedule([cycle | {"decay_steps": steps} for steps in (10, 20, 40)])
    np.testing.assert_allclose(found[:5], 0.1 * np.arange(5) / 5, rtol=1e-6)
    np.testing.assert_allclose(found[5:], every(reference, 56), rtol=1e-6)
    assert found[5] == found[15] == found[35] == np.float32(0.1)
    # The last step of the last cycle does not restart.
    assert rates(options | {"schedule.warmup_epochs": 0.0}, 3)[-1] == pytest.approx(0, abs=1e-9)


def test_cycles_between_steps():
    """Protects cycles of fractional length: they do not drift, and each has at least one step."""
    found = rates({"schedule.name": "cosine_restarts", "schedule.cycle_epochs": 0.25}, 1)
    np.testing.assert_array_equal(np.flatnonzero(found == np.float32(0.1)), [0, 2, 5, 8])
    found = rates({"schedule.name": "cosine_restarts", "schedule.cycle_epochs": 1e-9}, 1)
    np.testing.assert_allclose(found[:-1], 0.1, rtol=1e-6)
    found = rates({"schedule.name": "cosine_restarts", "schedule.cycle_epochs": 1e300}, 1)
    np.testing.assert_allclose(found, 0.1, rtol=1e-6)


@pytest.mark.parametrize("final", [0.0, 0.05])
def test_final_factor_of_linear_and_cosine(final):
    """Protects the rate at the end of a run, and the default that it is 0."""
    options = {"schedule.final_factor": final}
    time = np.arange(61) / 60
    line = rates(options | {"schedule.name": "linear"}, 6)
    np.testing.assert_allclose(line, 0.1 * (1 - (1 - final) * time), rtol=1e-5, atol=1e-8)
    cosine = final + (1 - final) * (1 + np.cos(np.pi * time)) / 2
    np.testing.assert_allclose(rates(options, 6), 0.1 * cosine, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", ["constant", "cosine", "exponential", "inverse_sqrt", "linear"])
def test_cool_down(name):
    """Protects every schedule until the cool-down, and the line from there to the final rate."""
    options = {"schedule.name": name, "schedule.warmup_epochs": 1.0}
    without = rates(options, 6)
    final = {"schedule.cooldown_epochs": 2.0, "schedule.final_factor": 0.02}
    found = rates(options | final, 6)
    if name in ("cosine", "linear"):  # the factor is theirs too
        without = rates(options | {"schedule.final_factor": 0.02}, 6)
    # The two programs may round differently by a few parts in 2**24.
    np.testing.assert_allclose(found[:41], without[:41], rtol=5e-7)
    np.testing.assert_allclose(found[40:], np.linspace(without[40], 0.002, 21), rtol=1e-5)


def test_notes():
    """Protects the lines about what a short run shortens, and about an incomplete cycle."""
    short = {"schedule.warmup_epochs": 5.0, "schedule.cooldown_epochs": 20.0, "train.epochs": 10}
    [line] = notes(config(**short), 7)
    assert line.startswith("schedule.cooldown_epochs is 20") and "to 5 epochs" in line
    # The cool-down then starts at the peak.
    del short["train.epochs"]
    assert rates(short, 10)[50] == pytest.approx(0.1)
    restarts = {"schedule.name": "cosine_restarts", "schedule.cycle_epochs": 2.0}
    assert notes(config(**restarts, **{"train.epochs": 10}), 7) == []
    [line] = notes(config(**restarts, **{"train.epochs": 9}), 7)
    assert "inside a cycle" in line and "after 10 epochs" in line
    assert (
        notes(config(**restarts, **{"train.epochs": 9, "schedule.cooldown_epochs": 1.0}), 7) == []
    )


def test_a_rate_of_a_python_integer():
    """Protects the line about a longer run, which asks for single rates, the first one too."""
    rate = create_schedule(
        config(**{"schedule.name": "inverse_sqrt", "schedule.warmup_epochs": 1.0}), 10
    )
    assert [float(rate(step)) for step in (0, 10)] == [0, pytest.approx(0.1)]


def test_plateau_of_real_steps():
    """Protects the rule, by the losses of a run in NumPy, and the reported learning rate."""
    options = {"schedule.name": "plateau", "schedule.plateau_epochs": 2, "train.ema_decay": 0.0}
    options |= {"schedule.plateau_factor": 0.5, "schedule.final_factor": 0.2}
    _, state, step, batch = toy(**options, **{"optimizer.learning_rate": 0.05})
    step, losses, found = jax.jit(step), [], []
    for _ in range(75):
        before = state.params
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
        found.append(float(metrics["learning_rate"]) / 0.05)
    scale, best, waited, expected = 1.0, np.inf, 0, []
    for number in range(1, 76):
        if number % 5 == 0:  # the last step of an epoch
            loss = np.mean(losses[number - 5 : number])
            improved = loss < (1 - 1e-4) * best
            best, waited = (loss, 0) if improved else (best, waited + 1)
            if waited == 2:
                scale, waited = max(scale * 0.5, 0.2), 0
        expected.append(scale)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert set(expected) == {1.0, 0.5, 0.25, 0.2}
    # Adam moves a parameter by about the learning rate.
    moved = jax.tree.leaves(
        jax.tree.map(lambda a, b: float(abs(a - b).max()), before, state.params)
    )
    assert 0 < max(moved) < 0.05 * 0.2 * 2
