"""Optimizers by name."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from netzoo.config import default_config
from netzoo.config.keys import OPTIMIZER_KEYS
from netzoo.training.average import create_average
from netzoo.training.layerwise import scale_by_muon_or_adam
from netzoo.training.optimizer import OPTIMIZERS, create_optimizer
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


@pytest.mark.parametrize("name", OPTIMIZERS)
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


def numpy_steps(options, x, gradients, rates):
    """Ten steps from `x` by the formulas of the papers and of timm's RMSpropTF, in float64."""
    name, o, wd = options["name"], options, options["weight_decay"]
    name = "adamw" if name == "muon" and x.ndim == 1 else name
    velocity = mean = np.zeros_like(x)
    squares = np.ones_like(x) if name == "rmsprop_tf" else np.zeros_like(x)
    positions = []
    for number, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        if name in ("adamw", "lamb"):
            mean = o["b1"] * mean + (1 - o["b1"]) * g
            squares = o["b2"] * squares + (1 - o["b2"]) * g**2
            unbiased = mean / (1 - o["b1"] ** number), squares / (1 - o["b2"] ** number)
            step = unbiased[0] / (np.sqrt(unbiased[1]) + o["epsilon"]) + wd * x
            x = x - rate * step * (trust_ratio(x, step) if name == "lamb" else 1)
        elif name == "lion":
            step = np.sign(o["b1"] * mean + (1 - o["b1"]) * g)
            mean = o["b2"] * mean + (1 - o["b2"]) * g
            x = x - rate * (step + wd * x)
        elif name == "muon":
            b = o["momentum"]
            mean = b * mean + (1 - b) * g
            step = b * mean / (1 - b ** (number + 1)) + (1 - b) * g / (1 - b**number)
            x = x - rate * (0.2 * max(x.shape) ** 0.5 * newton_schulz(step) + wd * x)
        else:
            g = g + wd * x
            if name.startswith("rmsprop"):
                squares = o["decay"] * squares + (1 - o["decay"]) * g**2
                g = g / np.sqrt(squares + o["epsilon"])
            if name == "lars":
                g = g * (0.001 * trust_ratio(x, g) if x.ndim > 1 else 1)
            rate_inside = name in ("rmsprop_tf", "lars")
            velocity = o["momentum"] * velocity + (rate if rate_inside else 1) * g
            step = g + o["momentum"] * velocity if o.get("nesterov") else velocity
            x = x - (step if rate_inside else rate * step)
        positions.append(x.reshape(-1))
    return np.array(positions)


def trust_ratio(x, step):
    """The ratio of norms for a matrix, 1 for a vector."""
    return np.linalg.norm(x) / np.linalg.norm(step) if x.ndim > 1 else 1


def newton_schulz(x):
    """Muon's five iterations for a matrix with at most as many rows as columns."""
    x = x / np.linalg.norm(x)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x


@pytest.mark.parametrize(
    "options",
    [
        {"name": "adamw", "b1": 0.8, "b2": 0.95, "epsilon": 0.01},
        {"name": "sgd", "momentum": 0.7},
        {"name": "sgd", "momentum": 0.7, "nesterov": True},
        {"name": "rmsprop", "decay": 0.8, "momentum": 0.6, "epsilon": 0.02},
        {"name": "rmsprop_tf", "decay": 0.8, "momentum": 0.6, "epsilon": 0.02},
        {"name": "lamb", "b1": 0.8, "b2": 0.95, "epsilon": 0.01},
        {"name": "lars", "momentum": 0.7},
        {"name": "lion", "b1": 0.8, "b2": 0.95},
        {"name": "muon", "momentum": 0.7, "b1": 0.8, "b2": 0.95, "epsilon": 0.01},
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
    c = config(**keys, **schedule, **{"schedule.decay_epochs": 0.3, "train.clip_norm": 2.8})
    rate = create_schedule(c, 10)  # halves after 3, 6 and 9 steps
    first, *gradients = np.random.default_rng(0).normal(size=(11, 8))
    gradients = np.array(gradients)

    def tree(values):
        kernel, bias = jnp.split(jnp.asarray(values, jnp.float32), [6])
        return {"dense": {"kernel": kernel.reshape(2, 3), "bias": bias}}

    params = tree(first)
    optimizer = create_optimizer(c, rate, params)
    state, found = optimizer.init(params), []
    for gradient in gradients:
        updates, state = optimizer.update(tree(gradient), state, params)
        params = optax.apply_updates(params, updates)
        found.append(np.concatenate([params["dense"]["kernel"].ravel(), params["dense"]["bias"]]))
    rates = np.array([float(rate(step)) for step in range(10)])
    assert len(set(rates)) == 4
    norms = np.linalg.norm(gradients, axis=1, keepdims=True)
    assert 0 < (norms > 2.8).sum() < 10
    gradients = gradients * np.minimum(1, 2.8 / norms)
    kernels, biases = gradients[:, :6].reshape(-1, 2, 3), gradients[:, 6:]
    kernel = numpy_steps({**options, "weight_decay": 0.05}, first[:6].reshape(2, 3), kernels, rates)
    bias = numpy_steps({**options, "weight_decay": 0.0}, first[6:], biases, rates / 2)
    # Ten steps of float32 against float64.
    np.testing.assert_allclose(found, np.hstack([kernel, bias]), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_table_of_used_keys_is_true(name):
    """Protects users from a refused key that matters, and from one that is silently ignored."""
    # Lion takes the sign of a mean of both gradients, and `b1` decides which one prevails.
    others = {"momentum": 0.5, "nesterov": True, "b1": 0.5, "b2": 0.5, "decay": 0.5, "epsilon": 0.1}
    assert {key for used in OPTIMIZER_KEYS.values() for key in used} == {*others}

    moved = {"params": GRADS}

    def two_steps(**options):
        c = config(**{"optimizer.name": name, **options})
        optimizer = create_optimizer(c, lambda step: 0.1, PARAMS)
        state, total = optimizer.init(PARAMS), 0
        for grads in (GRADS, jax.tree.map(lambda g: -0.005 * g, GRADS)):
            updates, state = optimizer.update(grads, state, PARAMS)
            total += np.concatenate([update.ravel() for update in jax.tree.leaves(updates)])
        if average := create_average(c, 1):
            state = state, average.gradient_point(SimpleNamespace(params=PARAMS, ema=moved))
        return [*total, *jax.tree.leaves(jax.tree.map(jnp.sum, state))]

    before = two_steps()
    used = {key for key, v in others.items() if two_steps(**{f"optimizer.{key}": v}) != before}
    assert used == {*OPTIMIZER_KEYS[name]}


def layer_updates(name, params):
    """Return the first updates for gradients that are the sines of the parameters."""
    c = config(**{"optimizer.name": name, "schedule.name": "constant"})
    optimizer = create_optimizer(c, lambda step: 0.1, params)
    grads = jax.tree.map(jnp.sin, params)
    return optimizer.update(grads, optimizer.init(params), params)[0]


@pytest.mark.parametrize("name", ["lamb", "lars", "muon"])
def test_every_block_of_a_stack_is_a_layer(name):
    """Protects the Transformers, whose blocks are stacked in one array: norms are per layer."""
    kernels = jnp.sin(jnp.arange(24.0).reshape(2, 3, 4) ** 2) * jnp.array([[[1.0]], [[9.0]]])
    biases = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    stacked = layer_updates(name, {"blocks": {"a": {"kernel": kernels, "bias": biases}}})["blocks"]
    apart = [
        layer_updates(name, {"a": {"kernel": kernel, "bias": bias}})
        for kernel, bias in zip(kernels, biases, strict=True)
    ]
    expected = jax.tree.map(lambda *layers: np.stack(layers), *apart)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), stacked, expected)


def test_muon_takes_the_kernel_of_a_convolution_as_a_matrix():
    """Protects the shape of Muon's matrices: a column per output, a row per input of an output."""
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 5)).astype(np.float32)
    bias = jnp.ones(5)
    layers = {
        "conv": {"kernel": kernel, "bias": bias},
        "dense": {"kernel": kernel.reshape(18, 5)},
    }
    updates = layer_updates("muon", layers)
    found, dense = updates["conv"]["kernel"], updates["dense"]["kernel"]
    np.testing.assert_allclose(found.reshape(18, 5), dense, rtol=1e-4, atol=1e-7)
    # Nearly orthogonal, at the learning rate times 0.2 times the root of the longer side.
    values = np.linalg.svd(dense, compute_uv=False) / (0.1 * 0.2 * 18**0.5)
    assert (values > 0.6).all() and (values < 1.3).all()


def test_the_kernels_of_muon():
    """Protects the choice: Muon for matrices of hidden layers, Adam for everything else."""
    muon = {
        "stage1_block1/project/kernel": (1, 1, 16, 24),
        "stage1_block1/squeeze_excite/reduce/kernel": (16, 8),
        "aux1/hidden/kernel": (64, 32),
        "encoder/blocks/mlp/expand/kernel": (12, 16, 64),
        "head/kernel": (1, 1, 24, 96),
    }
    adam = {
        "stem/kernel": (3, 3, 3, 16),
        "stem/conv1/kernel": (7, 7, 3, 16),
        "stage1_block1/depthwise/kernel": (3, 3, 1, 16),
        "stage1_block1/project_norm/scale": (24,),
        "embedding/kernel": (16, 16, 3, 16),
        "target_embedding/embedding": (50, 16),
        "position_embedding": (1, 9, 16),
        "encoder/blocks/mlp/expand/bias": (12, 64),
        "aux1/logits/kernel": (32, 5),
        "logits/kernel": (96, 5),
    }
    shapes = {name: jax.ShapeDtypeStruct(x, jnp.float32) for name, x in (muon | adam).items()}
    rule = scale_by_muon_or_adam(0.9, 0.9, 0.999, 1e-8)
    states = jax.eval_shape(rule.init, shapes).inner_states
    for name, expected in ("muon", muon), ("adam", adam):
        [moments] = [value for _, value in optax.tree.get_all_with_path(states[name], "mu")]
        assert {n: x.shape for n, x in moments.items() if hasattr(x, "shape")} == expected


@pytest.mark.parametrize("name", OPTIMIZERS)
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
