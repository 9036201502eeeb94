"""The losses of the labels."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.tasks import create_task
from netzoo.tasks.classification.config import LOSS_KEYS
from netzoo.tasks.classification.losses import LOSSES
from tests.conftest import tiny_config

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (5, 3))
# The last two images have no class and two classes, which a softmax cannot learn.
TARGETS = np.array([[0.7, 0.25, 0.05], [0.1, 0, 0.9], [0, 1, 0], [0, 0, 0], [1, 1, 0]])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


# The formulas of the papers in float64: the loss of each image.


def cross_entropy(x, t):
    return -(t * np.log(softmax(x))).sum(-1)


def poly(x, t, epsilon):
    return cross_entropy(x, t) + epsilon * (1 - (t * softmax(x)).sum(-1))


def binary_cross_entropy(x, t, threshold):
    p, t = sigmoid(x), t if threshold is None else np.where(t > threshold, 1.0, 0.0)
    return (-t * np.log(p) - (1 - t) * np.log(1 - p)).mean(-1)


def focal(x, t, gamma, alpha):
    p = sigmoid(x)
    entropy = -t * np.log(p) - (1 - t) * np.log(1 - p)
    weight = 1 if alpha is None else alpha * t + (1 - alpha) * (1 - t)
    return (weight * (1 - p * t - (1 - p) * (1 - t)) ** gamma * entropy).mean(-1)


def asymmetric(x, t, gammas, margin):
    p = sigmoid(x)
    m = np.maximum(p - margin, 0)
    positive = (1 - p) ** gammas[0] * np.log(p)
    negative = m ** gammas[1] * np.log(1 - m)
    return -(t * positive + (1 - t) * negative).mean(-1)


CASES = [
    (cross_entropy, {}),
    (poly, {"poly_epsilon": 2.0}),
    (poly, {"poly_epsilon": -1.0}),
    (binary_cross_entropy, {"bce_threshold": None}),
    (binary_cross_entropy, {"bce_threshold": 0.2}),
    (binary_cross_entropy, {"bce_threshold": 0.0}),
    (focal, {"focal_gamma": 2.0, "focal_alpha": None}),
    (focal, {"focal_gamma": 0.5, "focal_alpha": 0.25}),
    (asymmetric, {"asymmetric_gammas": (0.0, 4.0), "asymmetric_margin": 0.05}),
    (asymmetric, {"asymmetric_gammas": (1.0, 0.5), "asymmetric_margin": 0.3}),
    (asymmetric, {"asymmetric_gammas": (1.0, 2.0), "asymmetric_margin": 0.0}),
]


def losses_and_gradient(formula, options, logits, targets):
    """Return the losses of images, and the gradient of their sum, in float32."""
    loss = functools.partial(LOSSES[formula.__name__], SimpleNamespace(**options))

    @jax.jit
    def summed(logits, targets):
        losses = loss(logits, targets)
        return losses.sum(), losses

    arguments = jnp.asarray(logits, jnp.float32), jnp.asarray(targets, jnp.float32)
    gradient, losses = jax.grad(summed, has_aux=True)(*arguments)
    return losses, gradient


@pytest.mark.parametrize(("formula", "options"), CASES)
def test_the_formulas_of_the_papers(formula, options):
    """Protects each loss and its gradient: float64, central differences; float32 has 7 digits."""
    rows = slice(3 if formula in (cross_entropy, poly) else None)
    logits, targets, values = LOGITS[rows], TARGETS[rows], options.values()
    losses, gradient = losses_and_gradient(formula, options, logits, targets)
    np.testing.assert_allclose(losses, formula(logits, targets, *values), rtol=2e-5, atol=1e-7)
    step = 1e-6
    for place in np.ndindex(logits.shape):
        shift = np.zeros_like(logits)
        shift[place] = step
        up, down = (formula(logits + s, targets, *values).sum() for s in (shift, -shift))
        np.testing.assert_allclose(gradient[place], (up - down) / 2 / step, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("formula", "options"), CASES)
def test_extreme_logits_have_a_finite_gradient(formula, options):
    """Protects a confident network: 0 ** 0.5 and log(0) have infinite derivatives."""
    logits = np.tile([200.0, -200.0, 0.0], (3, 1))
    losses, gradient = losses_and_gradient(formula, options, logits, np.eye(3))
    assert np.isfinite(losses).all() and np.isfinite(gradient).all()


def test_the_table_of_losses():
    """Every loss has an entry in `LOSS_KEYS` with the names of its keys."""
    assert {*LOSSES} == {*LOSS_KEYS}
    assert {formula.__name__: tuple(name for name in options) for formula, options in CASES} == {
        name: tuple(keys) for name, keys in LOSS_KEYS.items()
    }


@pytest.mark.parametrize("threshold", [0.1, None])
def test_the_targets_of_a_mixed_batch(threshold, pictures):
    """Protects the order: labels are smoothed, then mixed, and only then become 0 or 1.

    With logits of 0, the gradient of the bias of a class is the mean of 1/2 - target.
    """
    config = tiny_config(pictures)
    config.train.update(loss="binary_cross_entropy", label_smoothing=0.1, bce_threshold=threshold)
    config.augment.update(mixup=1.0)
    task = create_task(config)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    variables = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    batch = {"image": jnp.zeros((4, 32, 32, 3), jnp.uint8), "label": jnp.array([0, 1, 2, 2])}

    def loss(params):
        return task.loss({**variables, "params": params}, batch, jax.random.key(1))[0]

    value, gradient = jax.value_and_grad(loss)(variables["params"])
    np.testing.assert_allclose(value, np.log(2), rtol=1e-6)
    targets = 4 * (1 / 2 - 3 * np.asarray(gradient["logits"]["bias"]))  # sums over the images
    if threshold is None:
        np.testing.assert_allclose(
            targets, [0.9 + 0.4 / 3, 0.9 + 0.4 / 3, 1.8 + 0.4 / 3], rtol=1e-4
        )
    else:
        np.testing.assert_allclose(targets, [2, 2, 4], rtol=1e-4)
