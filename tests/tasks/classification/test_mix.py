"""CutMix: boxes of pixels, targets in their proportion, and the keys that choose the method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from netzoo.tasks import create_task
from netzoo.tasks.classification import image_classification as module
from netzoo.tasks.classification import mix as mixing
from netzoo.tasks.classification.mix import cutmix
from tests.conftest import slow, tiny_config

LABELS = jnp.arange(4)
# All pixels of example i are i; its partner is 3 - i.
BATCH = jnp.broadcast_to(LABELS[:, None, None, None], (4, 20, 30, 1)), jnp.eye(4), LABELS


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("seed", [0, slow(1), slow(2), slow(3)])
def test_targets_are_the_areas_of_a_box(alpha, seed):
    """Protects the correction of lambda to the pixels that were pasted, and the labels."""
    images, targets, labels = cutmix(jax.random.key(seed), alpha, *BATCH)
    pasted = np.asarray(images[..., 0] == 3 - LABELS[:, None, None])
    np.testing.assert_array_equal(
        images[..., 0], np.where(pasted, BATCH[0][::-1, ..., 0], BATCH[0][..., 0])
    )
    assert (pasted == pasted[:1]).all(), "one box for the batch"
    np.testing.assert_array_equal(pasted[0], np.outer(pasted[0].any(1), pasted[0].any(0)))
    share = pasted[0].mean()
    expected = (1 - share) * np.eye(4) + share * np.eye(4)[::-1]
    np.testing.assert_allclose(targets, expected, atol=1e-6)
    np.testing.assert_array_equal(labels, LABELS if share <= 0.5 else LABELS[::-1])


def test_boxes_have_the_share_that_was_drawn():
    """Protects the side of the box, the root of its area: with lambda near 1/2, half of the image.

    Boxes that the border cuts off are smaller, so the test uses the largest of many.
    """
    draw = jax.jit(jax.vmap(lambda key: cutmix(key, 1e4, *BATCH)[1][0, 3]))
    shares = draw(jax.random.split(jax.random.key(0), 200))
    assert 0.42 < shares.max() < 0.52
    assert shares.min() < 0.2


def test_each_setting_is_another_result(pictures, monkeypatch):
    """Protects the keys: 0 is off, alpha matters, and with both each batch uses one of the two."""
    monkeypatch.setattr(module, "apply_in_training", lambda c, m, v, x, **_: (x.mean((1, 2)), {}))
    rng = np.random.default_rng(0)
    batch = {"image": rng.integers(0, 256, (6, 16, 16, 3), np.uint8), "label": np.arange(6) % 3}
    keys = jax.random.split(jax.random.key(0), 12)

    def losses(mixup, cutmix):
        config = tiny_config(pictures)
        config.augment.update(mixup=mixup, cutmix=cutmix)
        task = create_task(config)
        return np.array([task.loss({}, batch, key)[0] for key in keys])

    off, other, blended, pasted = (losses(*a) for a in ((0, 0), (0, 0.4), (1, 0), (0, 1)))
    assert np.ptp(off) == 0 < np.ptp(pasted)
    assert (other != pasted).any()
    is_pasted = losses(1, 1) == pasted
    assert 0 < is_pasted.sum() < len(keys)
    np.testing.assert_array_equal(losses(1, 1), np.where(is_pasted, pasted, blended))


@pytest.mark.parametrize(
    ("alphas", "mixed", "switched", "shares"),
    [
        ((1, 1), 0.8, 0.25, (0.2, 0.6, 0.2)),
        ((1, 1), 1, 1, (0, 0, 1)),
        ((1, 1), 0, 0.5, (1, 0, 0)),
        ((1, 0), 0.5, 0.9, (0.5, 0.5, 0)),
        ((0, 1), 0.5, 0.1, (0.5, 0, 0.5)),
    ],
)
def test_methods_have_the_given_probabilities(alphas, mixed, switched, shares, monkeypatch):
    """The shares of batches that are not mixed, and mixed by mixup and by CutMix."""
    monkeypatch.setattr(mixing, "mixup", lambda key, alpha, x: (x + 1,))
    monkeypatch.setattr(mixing, "cutmix", lambda key, alpha, x: (x + 2,))
    augment = ConfigDict({"mixup_prob": mixed, "mixup_switch_prob": switched})
    augment.mixup, augment.cutmix = alphas
    draw = jax.vmap(lambda key: mixing.mix(key, augment, (jnp.zeros((), int),))[0])
    counts = np.bincount(draw(jax.random.split(jax.random.key(0), 1000)), minlength=3)
    for count, share in zip(counts, shares, strict=True):
        assert abs(count - 1000 * share) <= 5 * (1000 * share * (1 - share)) ** 0.5
