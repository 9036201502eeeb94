"""Learning-rate schedules by name."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.config import default_config
from netzoo.training.schedule import create_schedule


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
