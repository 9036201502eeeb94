"""Optimizers by name."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from netzoo.config import default_config
from netzoo.training.optimizer import create_optimizer
from netzoo.training.schedule import create_schedule

PARAMS = {"dense": {"kernel": jnp.array([[2.0, -4.0]]), "bias": jnp.array([3.0])}}
GRADS = {"dense": {"kernel": jnp.array([[0.5, 0.25]]), "bias": jnp.array([1.0])}}


def config(**options):
    """The defaults with a learning rate of 0.1 and the given keys."""
    result = default_config()
    result.optimizer.learning_rate = 0.1
    result.update_from_flattened_dict(options)
    return result


def first_update(**options):
    """Return the update of the first step for PARAMS and GRADS."""
    c = config(**{"schedule.name": "constant", "optimizer.weight_decay": 0.01} | options)
    optimizer = create_optimizer(c, create_schedule(c, 10), PARAMS)
    updates, _ = optimizer.update(GRADS, optimizer.init(PARAMS), PARAMS)
    return updates["dense"]


@pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop", "rmsprop_tf"])
def test_weight_decay_spares_biases(name):
    """Protects the table of factors: the bias changes as it does without weight decay."""
    with_decay = first_update(**{"optimizer.name": name})
    without = first_update(**{"optimizer.name": name, "optimizer.weight_decay": 0.0})
    np.testing.assert_array_equal(with_decay["bias"], without["bias"])
    assert not np.array_equal(with_decay["kernel"], without["kernel"])


def test_first_steps_by_hand():
    """Protects the formulas: AdamW's decoupled decay, SGD's coupled one, RMSProp's scaling."""
    adamw = first_update(**{"optimizer.name": "adamw"})
    # The first Adam step is the sign of the gradient; decay adds 0.01 * 2.0 and 0.01 * -4.0.
    np.testing.assert_allclose(adamw["kernel"], [[-0.1 * 1.02, -0.1 * 0.96]], rtol=1e-5)
    sgd = first_update(**{"optimizer.name": "sgd"})
    np.testing.assert_allclose(sgd["kernel"], [[-0.1 * 0.52, -0.1 * 0.21]], rtol=1e-6)
    rmsprop = first_update(**{"optimizer.name": "rmsprop"})
    # g / sqrt(0.1 g^2) is sqrt(10) whatever g.
    np.testing.assert_allclose(rmsprop["kernel"], [[-0.1 * 10**0.5] * 2], rtol=1e-5)


def numpy_steps(options, gradients, rates):
    """Ten steps from 0 by the formulas of the papers and of timm's RMSpropTF, in float64."""
    name, o, wd = options["name"], options, options["weight_decay"]
    x = velocity = mean = np.zeros(gradients.shape[1])
    squares = np.ones_like(x) if name == "rmsprop_tf" else np.zeros_like(x)
    positions = []
    for number, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        if name == "adamw":
            mean = o["b1"] * mean + (1 - o["b1"]) * g
            squares = o["b2"] * squares + (1 - o["b2"]) * g**2
            unbiased = mean / (1 - o["b1"] ** number), squares / (1 - o["b2"] ** number)
            x = x - rate * (unbiased[0] / (np.sqrt(unbiased[1]) + o["epsilon"]) + wd * x)
        else:
            g = g + wd * x
            if name.startswith("rmsprop"):
                squares = o["decay"] * squares + (1 - o["decay"]) * g**2
                g = g / np.sqrt(squares + o["epsilon"])
            inside = rate if name == "rmsprop_tf" else 1
            velocity = o["momentum"] * velocity + inside * g
            step = g + o["momentum"] * velocity if o.get("nesterov") else velocity
            x = x - (step if name == "rmsprop_tf" else rate * step)
        positions.append(x)
    return np.array(positions)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "adamw", "b1": 0.8, "b2": 0.95, "epsilon": 0.01},
        {"name": "sgd", "momentum": 0.7},
        {"name": "sgd", "momentum": 0.7, "nesterov": True},
        {"name": "rmsprop", "decay": 0.8, "momentum": 0.6, "epsilon": 0.02},
        {"name": "rmsprop_tf", "decay": 0.8, "momentum": 0.6, "epsilon": 0.02},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_ten_steps_are_those_of_the_formulas(options):
    """Protects values that the first step does not show: decays, momentum, learning rates.

    Clipping counts all parameters together. The bias learns half as fast, without weight decay.
    """
    keys = {f"optimizer.{name}": value for name, value in options.items()}
    keys |= {"optimizer.weight_decay": 0.05, "optimizer.lr_mults": ((".*/bias", 0.5), (".*", 1.0))}
    schedule = {"schedule.name": "exponential", "schedule.decay_rate": 0.5}
    c = config(**keys, **schedule, **{"schedule.decay_epochs": 0.3, "train.clip_norm": 2.0})
    rate = create_schedule(c, 10)  # halves after 3, 6 and 9 steps
    gradients = np.random.default_rng(0).normal(size=(10, 5))
    params = {"dense": {"kernel": jnp.zeros(3), "bias": jnp.zeros(2)}}
    optimizer = create_optimizer(c, rate, params)
    state, found = optimizer.init(params), []
    for gradient in gradients:
        kernel, bias = jnp.split(jnp.asarray(gradient, jnp.float32), [3])
        grads = {"dense": {"kernel": kernel, "bias": bias}}
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        found.append(np.concatenate([params["dense"]["kernel"], params["dense"]["bias"]]))
    rates = np.array([float(rate(step)) for step in range(10)])
    assert len(set(rates)) == 4
    norms = np.linalg.norm(gradients, axis=1, keepdims=True)
    assert 0 < (norms > 2).sum() < 10
    gradients = gradients * np.minimum(1, 2 / norms)
    kernel = numpy_steps({**options, "weight_decay": 0.05}, gradients[:, :3], rates)
    bias = numpy_steps({**options, "weight_decay": 0.0}, gradients[:, 3:], rates / 2)
    # Ten steps of float32 against float64.
    np.testing.assert_allclose(found, np.hstack([kernel, bias]), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop", "rmsprop_tf"])
def test_lr_mults(name):
    """Protects fine-tuning: 0 freezes, weight decay included; others scale the update."""
    plain = first_update(**{"optimizer.name": name})
    table = ((r".*/bias", 0.5), (r".*", 0.0))
    scaled = first_update(**{"optimizer.name": name, "optimizer.lr_mults": table})
    np.testing.assert_array_equal(scaled["kernel"], np.zeros((1, 2)))
    np.testing.assert_allclose(scaled["bias"], 0.5 * plain["bias"], rtol=1e-6)


def test_frozen_parameters_have_no_state_and_no_part_in_clipping():
    """Protects memory, and keeps the gradient of a frozen backbone out of clipping."""
    options = {"train.clip_norm": 1.0, "optimizer.name": "sgd", "optimizer.weight_decay": 0.0}
    table = ((r".*/bias", 1.0), (r".*", 0.0))
    c = config(**options, **{"optimizer.lr_mults": table})
    optimizer = create_optimizer(c, create_schedule(c, 10), PARAMS)
    arrays = [leaf for leaf in jax.tree.leaves(optimizer.init(PARAMS)) if leaf.ndim]
    assert [leaf.shape for leaf in arrays] == [(1,)]
    huge = {"dense": {"kernel": jnp.array([[1e6, 1e6]]), "bias": jnp.array([0.5])}}
    updates, _ = optimizer.update(huge, optimizer.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["dense"]["bias"], [-0.1 * 0.5], rtol=1e-6)
