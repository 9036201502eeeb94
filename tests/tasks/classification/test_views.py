"""Test-time augmentation, by values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from netzoo.errors import UserError
from netzoo.tasks import create_task
from netzoo.tasks.classification.config import VIEWS
from netzoo.tasks.classification.views import averaged_logits, view_size, views
from tests.conftest import tiny_config

IMAGES = np.random.default_rng(0).normal(size=(2, 7, 7, 3)).astype(np.float32)
WEIGHTS = np.random.default_rng(1).normal(size=(5 * 5 * 3, 4)).astype(np.float32)


def logits_of(images):
    return images.reshape(len(images), -1) @ WEIGHTS


def test_ten_crops_by_hand():
    """Corners, centre and their mirror images; the centre is the usual crop."""
    found = np.asarray(views(jnp.asarray(IMAGES), "crops", 5))
    expected = [
        IMAGES[:, y : y + 5, x : x + 5] for y, x in ((0, 0), (0, 2), (2, 0), (2, 2), (1, 1))
    ]
    np.testing.assert_array_equal(found[:5], np.stack(expected))
    np.testing.assert_array_equal(found[5:], np.stack(expected)[..., ::-1, :])


@pytest.mark.parametrize("kind", VIEWS)
def test_probabilities_are_averaged(kind):
    """The softmax of the result is the mean of the softmax over all views, in float64."""
    images = jnp.asarray(IMAGES if kind == "crops" else IMAGES[:, :5, :5])
    found = averaged_logits(logits_of, images, kind, 5)
    each = [logits_of(np.asarray(view, np.float64)) for view in views(images, kind, 5)]
    assert len(each) == {"none": 1, "flip": 2, "crops": 10}[kind]
    expected = special.softmax(np.stack(each), axis=-1).mean(0)
    # float32: products of 75 terms
    np.testing.assert_allclose(jax.nn.softmax(found), expected, rtol=1e-4)
    if kind == "none":
        np.testing.assert_array_equal(found, logits_of(images))


def test_crops_need_room():
    """Crops come from the whole shorter side; without room, all would be the same."""
    assert view_size("crops", 224, 0.875) == (256, 1.0)
    assert view_size("flip", 224, 0.875) == (224, 0.875)
    with pytest.raises(UserError, match=r"crop_pct 1 keeps the whole image at 224 pixels; lower"):
        view_size("crops", 224, 1.0)


def test_an_evaluation_averages_its_views(pictures):
    """The whole way of a split: batches of the right size, and mean probabilities."""
    config = tiny_config(pictures)
    config.evaluation.tta, config.evaluation.crop_pct = "crops", 0.8
    task = create_task(config)
    batch = next(iter(task.evaluation_batches("test")))
    assert batch["image"].shape == (4, 40, 40, 3)
    variables = jax.jit(task.init)(jax.random.key(0))
    apply = jax.jit(lambda variables, images: task.model.apply(variables, images, train=False))
    mean, std = np.float32(config.data.mean or 127.5), np.float32(config.data.std or 127.5)
    images = (batch["image"].astype(np.float32) - mean) / std
    each = [apply(variables, view) for view in views(jnp.asarray(images), "crops", 32)]
    expected = np.mean([special.softmax(np.asarray(e, np.float64), -1) for e in each], axis=0)
    _, rows = jax.jit(task.final_step("test"))(variables, batch)
    np.testing.assert_allclose(jax.nn.softmax(rows["logits"]), expected, rtol=1e-4)
    assert np.ptp(np.stack(each), axis=0).max() > 1e-3  # the views differ
