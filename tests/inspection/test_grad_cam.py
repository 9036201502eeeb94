"""Grad-CAM and Grad-CAM++: against formulas written for one small network, and its arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.inspection import grad_cam, overlay
from netzoo.layers import ENDPOINTS
from tests.inspection.small import CLASSES, SIZE, small_images, small_predictor

IMAGES = small_images(6)


@pytest.fixture(scope="module")
def linear():
    return small_predictor()


@pytest.fixture(scope="module")
def deep():
    return small_predictor(hidden=5)


def activations(predictor, layer):
    """Compute the values of a layer."""
    apply = jax.jit(
        lambda v, x: predictor.model.apply(v, x, train=False, mutable=[ENDPOINTS])[1][ENDPOINTS]
    )
    images = predictor.preprocessing.normalize(IMAGES)
    return np.asarray(apply(predictor.variables, images)[layer], np.float64)


def resized(heat):
    """Resize and scale maps, in float64, as the definition of half-pixel centres says."""
    side = heat.shape[1]
    places = np.clip((np.arange(SIZE) + 0.5) * side / SIZE - 0.5, 0, side - 1)
    matrix = np.maximum(0, 1 - abs(places[:, None] - np.arange(side)))
    heat = np.einsum("ri,bij,cj->brc", matrix, np.maximum(heat, 0), matrix)
    largest = heat.max((1, 2), keepdims=True)
    return heat / np.where(largest > 0, largest, 1)


def test_equals_the_class_activation_map_of_a_linear_head(linear):
    """With an average and one dense layer, Grad-CAM is CAM: the kernel weighs the channels."""
    kernel = np.asarray(linear.variables["params"]["logits"]["kernel"], np.float64)
    classes = [0, 1, 2, 2, 1, 0]
    values = activations(linear, "stage1/block1")
    expected = np.einsum("bhwc,bc->bhw", values, kernel.T[classes])
    got = grad_cam(linear, IMAGES, classes)
    assert got.dtype == np.float32
    # Sums of 8 products, which cancel: the largest value of a map is 1.
    np.testing.assert_allclose(got, resized(expected), atol=2e-5)


def head(predictor, values):
    """The rest of the network after `stage1/block1`, as a function of its activations."""
    params = predictor.variables["params"]
    x = jnp.tanh(values.reshape(-1) @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    return x @ params["logits"]["kernel"] + params["logits"]["bias"]


@pytest.mark.parametrize("plus_plus", [False, True])
def test_equals_the_gradient_of_a_split_network(deep, plus_plus):
    """The definition, image by image, on a network that is cut at the layer."""
    values, classes = activations(deep, "stage1/block1"), [2, 0, 1, 1, 0, 2]
    gradient = jax.jit(jax.grad(lambda values, index: head(deep, values)[index]))
    expected = []
    for value, index in zip(values, classes, strict=True):
        slope = np.asarray(gradient(jnp.asarray(value, jnp.float32), index), np.float64)
        if plus_plus:
            alpha = slope**2 / (2 * slope**2 + value.sum((0, 1)) * slope**3)
            weights = (alpha * np.maximum(slope, 0)).sum((0, 1))
        else:
            weights = slope.mean((0, 1))
        expected.append(value @ weights)
    got = grad_cam(deep, IMAGES, classes, plus_plus=plus_plus)
    np.testing.assert_allclose(got, resized(np.array(expected)), atol=2e-5)


def test_explains_the_class_that_was_asked_for(deep):
    """Classes have names and indices; by default, the most probable class is explained."""
    by_index = [grad_cam(deep, IMAGES, len(IMAGES) * [index]) for index in range(3)]
    assert min(abs(by_index[0] - other).max((1, 2)).min() for other in by_index[1:]) > 0.1
    best = deep.probabilities(IMAGES[:4]).argmax(-1)
    expected = np.stack([by_index[index][row] for row, index in enumerate(best)])
    np.testing.assert_array_equal(grad_cam(deep, IMAGES)[:4], expected)
    named = grad_cam(deep, IMAGES[:2], [CLASSES[2], CLASSES[0]])
    # Another batch size is another program, which may round differently.
    np.testing.assert_allclose(named, [by_index[2][0], by_index[0][1]], atol=1e-6)


def test_layer(deep):
    """The default is the last layer; the other one gives another, finer map."""
    last = grad_cam(deep, IMAGES, layer="stage1/block1")
    np.testing.assert_array_equal(grad_cam(deep, IMAGES), last)
    assert abs(grad_cam(deep, IMAGES, layer="stem") - last).max() > 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer": "stage1_block1"}, "unknown layer 'stage1_block1'; did you mean stage1/block1"),
        ({"layer": "pre_logits"}, "pre_logits has no grid of positions; valid: stem, stage1"),
        ({"classes": ["rose"] * 6}, "unknown class 'rose'; did you mean roses"),
        ({"classes": [3] * 6}, "class 3 does not exist; expected 0 to 2"),
        ({"classes": [1]}, "one class for each of the 6 images, got 1"),
    ],
)
def test_errors(deep, arguments, message):
    """Errors name the nearest valid value."""
    with pytest.raises(UserError, match=message):
        grad_cam(deep, IMAGES, **arguments)


def test_images_have_to_be_preprocessed(deep):
    """The map has the size of the image that the network sees, not of the photograph."""
    with pytest.raises(UserError, match=r"uint8 \[24, 24, 3\], got uint8 \[30, 24, 3\]; pass"):
        grad_cam(deep, [np.zeros((30, 24, 3), np.uint8)])
    assert grad_cam(deep, []).shape == (0, 24, 24)


def test_overlay_colours_high_values():
    """A map of 0 and a map of 1 give different colours, and the image stays visible."""
    image = np.full((4, 6, 3), 200, np.uint8)
    image[:, 3:] = 20
    heat = np.zeros((4, 6), np.float32)
    heat[2:] = 1
    seen = overlay(image, heat).astype(int)
    assert seen.shape == image.shape
    assert (seen[0, 0] != seen[3, 0]).any() and (seen[3, 0] - seen[3, 5] > 30).all()
    assert (overlay(image, heat, opacity=0) == image).all()
    with pytest.raises(UserError, match="expected the same height and width"):
        overlay(image, heat.T)
