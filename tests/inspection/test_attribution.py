"""Integrated gradients, occlusion, and deletion and insertion curves."""

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from netzoo.errors import UserError
from netzoo.inspection import (
    deletion_and_insertion,
    grad_cam,
    integrated_gradients,
    occlusion,
)
from netzoo.inspection.programs import probabilities
from netzoo.tasks.classification.predictor import Predictor
from tests.inspection.small import CLASSES, PREPROCESSING, SIZE, small_images, small_predictor

IMAGES = small_images(3)


@pytest.fixture(scope="module")
def deep():
    return small_predictor(hidden=5)


class Corner:
    """Stands in for a Predictor: class 1 is as probable as the top left quarter is bright."""

    preprocessing, class_names, batch_size = PREPROCESSING, ("dark", "bright"), 4

    def probabilities(self, images):
        share = np.array(images, np.float64)[:, : SIZE // 2, : SIZE // 2].mean((1, 2, 3)) / 255
        return np.stack([1 - share, share], -1).astype(np.float32)


def test_integrated_gradients_are_complete(deep):
    """The attributions sum to the difference of the logits, better with more steps."""
    classes = [0, 2, 1]
    few, many = (integrated_gradients(deep, IMAGES, classes, steps) for steps in (4, 64))
    assert many.attributions.shape == IMAGES.shape
    assert many.error.max() < 0.01 and few.error.max() > 2 * many.error.max()
    other = integrated_gradients(deep, IMAGES, [1, 1, 0], 4)
    assert abs(other.attributions - few.attributions).max() > 0.01
    gray = np.broadcast_to(np.uint8(PREPROCESSING.mean), (1, SIZE, SIZE, 3))
    assert not integrated_gradients(deep, gray, steps=4).attributions.any()  # the baseline itself


class Squares(nn.Module):
    """Logits that are quadratic in the pixels."""

    num_classes: int = 3

    @nn.compact
    def __call__(self, images, *, train):
        flat = images.reshape(len(images), -1)
        shape = (flat.shape[-1], self.num_classes)
        return flat**2 @ self.param("kernel", nn.initializers.normal(0.1), shape)


def test_the_middle_of_each_part_is_exact_for_squares():
    """The gradient is linear on the way from the baseline, so one step is enough."""
    kernel = np.random.default_rng(0).normal(size=(IMAGES[0].size, 3)).astype(np.float32)
    predictor = Predictor(Squares(), {"params": {"kernel": kernel}}, PREPROCESSING, CLASSES)
    found = integrated_gradients(predictor, IMAGES, [2, 0, 1], steps=1)
    squares = PREPROCESSING.normalize(IMAGES).astype(np.float64) ** 2
    weights = kernel.T[[2, 0, 1]].reshape(IMAGES.shape)
    np.testing.assert_allclose(found.attributions, squares * weights, rtol=1e-5)
    assert found.error.max() < 1e-6


def test_occlusion_finds_the_corner():
    """Covering the bright corner lowers the probability, covering the rest changes nothing."""
    image = np.full((1, SIZE, SIZE, 3), 40, np.uint8)
    image[0, :8, :8] = 250
    falls = occlusion(Corner(), image, classes=["bright"], patch=4, stride=4)
    # Each square covers a ninth of the quarter with the mean colour, 110, instead of 250 or 40.
    expected = np.zeros((SIZE, SIZE))
    expected[:12, :12] = (40 - 110) / 255 / 9
    expected[:8, :8] = (250 - 110) / 255 / 9
    np.testing.assert_allclose(falls[0], expected, atol=1e-6)
    assert occlusion(Corner(), image, ["bright"], patch=5, stride=3).shape == (1, SIZE, SIZE)
    np.testing.assert_allclose(occlusion(Corner(), image, ["dark"], 4, 4), -falls, atol=1e-6)


def test_curves_by_hand():
    """Each curve goes from the image to the colour or back, in the order of the map."""
    image = np.full((1, SIZE, SIZE, 3), 40, np.uint8)
    image[0, : SIZE // 2, : SIZE // 2] = 250
    good = np.zeros((1, SIZE, SIZE))
    good[0, : SIZE // 2, : SIZE // 2] = 1
    curves = deletion_and_insertion(Corner(), image, good, ["bright"], steps=4)
    np.testing.assert_allclose(curves.shares, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(curves.deletion[0], np.array([250, *4 * [110]]) / 255, atol=1e-3)
    np.testing.assert_allclose(curves.insertion[0, 1:], 250 / 255, atol=1e-3)
    assert curves.insertion[0, 0] < 240 / 255  # blurred
    bad = deletion_and_insertion(Corner(), image, -good, ["bright"], steps=4)
    assert curves.deletion_area < bad.deletion_area
    assert curves.insertion_area > bad.insertion_area


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: integrated_gradients(p, IMAGES, steps=0), "steps is 0; expected at least 1"),
        (lambda p: occlusion(p, IMAGES, patch=25), "patch is 25 and stride 12; expected 1 <="),
        (lambda p: occlusion(p, IMAGES, patch=4, stride=5), "patch is 4 and stride 5; expected"),
        (
            lambda p: deletion_and_insertion(p, IMAGES, np.zeros((3, 2, 2))),
            r"expected maps \[3, 24, 24\], got \[3, 2, 2\]",
        ),
        (
            lambda p: deletion_and_insertion(p, IMAGES, np.zeros((3, 24, 24)), steps=577),
            "steps is 577; expected 1 to 576",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(UserError, match=message):
        call(Corner())


def test_probabilities_of_more_images_than_a_batch(deep):
    """Images are not preprocessed a second time."""
    images = small_images(6)
    expected = np.concatenate([deep.probabilities(images[:4]), deep.probabilities(images[4:])])
    np.testing.assert_array_equal(probabilities(deep, images), expected)
    assert isinstance(deep, Predictor)


def striped_squares(count):
    """Draw noise with a square at any place; the direction of its stripes is the class."""
    rng = np.random.default_rng(1)
    images = rng.integers(100, 156, (count, SIZE, SIZE, 3), np.uint8)
    labels = rng.integers(0, len(CLASSES), count)
    rows, columns = np.indices((8, 8)) // 2 % 2  # two pixels wide, so that a blur removes them
    patterns = np.uint8([rows, columns, rows ^ columns])[..., None] * 190 + 30
    for image, label, (row, column) in zip(
        images, labels, rng.integers(0, SIZE - 8, (count, 2)), strict=True
    ):
        image[row : row + 8, column : column + 8] = patterns[label]
    return images, labels


@pytest.mark.slow
def test_maps_of_a_trained_network_beat_random_maps():
    """Every kind of map finds the square that decides the class."""
    predictor = small_predictor(hidden=8)
    model, optimizer = predictor.model, optax.adam(1e-2)
    pixels, labels = striped_squares(256)
    inputs = predictor.preprocessing.normalize(pixels)

    def loss(variables):
        logits = model.apply(variables, inputs, train=False)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit
    def step(variables, state):
        changes, state = optimizer.update(jax.grad(loss)(variables), state)
        return optax.apply_updates(variables, changes), state

    variables = jax.tree.map(np.asarray, predictor.variables)
    state = optimizer.init(variables)
    for _ in range(150):
        variables, state = step(variables, state)
    trained = Predictor(model, variables, PREPROCESSING, CLASSES, batch_size=64)
    images, classes = pixels[:24], labels[:24]
    assert (probabilities(trained, images).argmax(-1) == classes).mean() > 0.9
    maps = {
        "grad-cam": grad_cam(trained, images, classes),
        "grad-cam++": grad_cam(trained, images, classes, plus_plus=True),
        "integrated gradients": abs(
            integrated_gradients(trained, images, classes, 16).attributions
        ).sum(-1),
        "occlusion": occlusion(trained, images, classes, patch=8),
    }
    random = np.random.default_rng(0).random(images.shape[:3])
    worst = deletion_and_insertion(trained, images, random, classes, steps=16)
    for name, own in maps.items():
        found = deletion_and_insertion(trained, images, own, classes, steps=16)
        assert found.deletion_area.mean() < worst.deletion_area.mean() - 0.05, name
        assert found.insertion_area.mean() > worst.insertion_area.mean() + 0.05, name
