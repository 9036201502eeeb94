"""Class weights and balanced sampling."""

import itertools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.data.batching import generator
from netzoo.data.epoch_order import ClassBalance, epoch_order
from netzoo.errors import UserError
from netzoo.tasks import create_task
from netzoo.tasks.classification.balance import balanced_weights
from netzoo.tasks.classification.losses import training_loss
from tests.conftest import tiny_config

LABELS = np.array([0] * 50 + [1] * 7 + [2] * 3 + [-1] * 4)


def test_balanced_weights():
    """Values of scikit-learn 1.9.1: compute_class_weight("balanced", ...); 0 for an empty class."""
    expected = [0.4, 2.857142857142857, 6.666666666666667, 0.0]
    np.testing.assert_allclose(balanced_weights(np.array([50, 7, 3, 0])), expected, rtol=1e-6)


def test_an_epoch_has_all_classes_equally_often():
    """Each class has a third of the epoch; an image repeats after all others of its class."""
    chosen = ClassBalance(LABELS).choose(64, generator(0, 1, 0, 0))
    labels = LABELS[chosen[:, 0]]
    assert sorted(np.bincount(labels)) == [21, 21, 22]
    for label, size in ((0, 50), (1, 7), (2, 3)):
        of_class = chosen[labels == label]
        assert len({*map(tuple, of_class.tolist())}) == len(of_class)  # all copies differ
        times = np.bincount(of_class[:, 0], minlength=64)[label == LABELS]
        assert len(of_class) // size <= max(times) <= -(-len(of_class) // size)
        assert [*np.unique(of_class[:, 1])] == [*range(max(times))]


def test_seed_and_epoch_decide_the_order():
    """The order is a pure function; with repeats, the copies of one image differ."""
    first, second = ClassBalance(LABELS), ClassBalance(LABELS)
    order = epoch_order(3, 5, 64, 2, first)
    np.testing.assert_array_equal(order, epoch_order(3, 5, 64, 2, second))
    for other in (epoch_order(4, 5, 64, 2, first), epoch_order(3, 6, 64, 2, first)):
        assert not np.array_equal(order, other)
    balanced = LABELS[epoch_order(3, 5, 64, 1, first)[:, 0]]
    assert sorted(np.bincount(balanced)) == [21, 21, 22]
    np.testing.assert_array_equal(order[::2, 0], order[1::2, 0])
    assert len({*map(tuple, order.tolist())}) == 64


def test_a_continued_run_has_the_same_batches(pictures):
    """Protects resuming: the position alone determines a batch, and rare images are repeated."""
    config = tiny_config(pictures)
    config.data.train_split = "train[:20]"
    config.train.balance = "sampling"
    task = create_task(config)
    batches = [*itertools.islice(task.train_iterator(), 6)]
    iterator = create_task(config).train_iterator()
    iterator.set_state({"next_index": 3})
    for before, again in zip(batches[3:], iterator, strict=False):
        np.testing.assert_array_equal(before["image"], again["image"])
        np.testing.assert_array_equal(before["label"], again["label"])
    assert task.train_batches().balance is not None
    assert "an epoch has about 7 images of each class" in task.notes()[-1]


def test_the_weight_of_a_mixed_image():
    """Each class counts by its share; smoothing does not change the weight of an image."""
    config = SimpleNamespace(train=SimpleNamespace(loss="cross_entropy", label_smoothing=0.3))
    shares = np.array([[1, 0, 0], [0.25, 0, 0.75]])
    targets, logits = 0.7 * shares + 0.1, np.array([[1.0, -1, 0], [0, 2, 1]])
    weights = np.array([2.0, 1.0, 0.5])
    losses = -(targets * np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))).sum(-1)
    found = training_loss(config, jnp.array(targets), None, weights, jnp.array(logits))
    np.testing.assert_allclose(found, (losses * [2.0, 0.875]).mean(), rtol=1e-5)


def test_the_classes_of_given_weights(pictures):
    """A name that the data lack is refused before anything is compiled."""
    config = tiny_config(pictures)
    config.train.class_weights = (("rose", 2.0),)
    with pytest.raises(UserError, match="'rose', which the data lack"):
        create_task(config)
    config.train.class_weights = (("roses", 2.0),)
    assert create_task(config).notes()[-1] == "class weights: daisy 1, roses 2, tulips 1"


def test_the_loss_of_a_run_has_its_weights(pictures):
    """The class weights multiply the loss of a step; without them, the loss would be log 3."""
    config = tiny_config(pictures)
    config.augment.mixup = 0.0
    config.train.class_weights = (("roses", 2.0), ("tulips", 0.0))
    task = create_task(config)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    variables = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    batch = {"image": jnp.zeros((4, 32, 32, 3), jnp.uint8), "label": jnp.array([0, 1, 1, 2])}
    loss, _, _ = task.loss(variables, batch, jax.random.key(1))
    np.testing.assert_allclose(loss, np.log(3) * (1 + 2 + 2 + 0) / 4, rtol=1e-6)
