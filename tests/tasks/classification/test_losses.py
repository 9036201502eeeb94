"""The losses of the labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.tasks import create_task
from netzoo.tasks.classification.losses import binary_cross_entropy
from tests.conftest import tiny_config

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]], np.float32)
TARGETS = np.array([[0.7, 0.25, 0.05], [0.1, 0.0, 0.9]], np.float32)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(None, TARGETS), (0.2, [[1, 1, 0], [0, 0, 1]]), (0.0, [[1, 1, 1], [1, 0, 1]])],
)
def test_binary_cross_entropy(threshold, expected):
    """Protects the definition: one logistic regression for each class, mean over all of them."""
    share, expected = 1 / (1 + np.exp(-LOGITS.astype(float))), np.array(expected, float)
    losses = -(expected * np.log(share) + (1 - expected) * np.log(1 - share))
    found = binary_cross_entropy(jnp.array(LOGITS), jnp.array(TARGETS), threshold)
    np.testing.assert_allclose(found, losses.mean(), rtol=1e-5)


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
