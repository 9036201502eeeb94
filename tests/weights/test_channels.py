"""First convolutions for images of other numbers of channels."""

import jax
import numpy as np
import pytest

import netzoo
from netzoo.errors import UserError
from tests.weights.drawn import draw, shapes_of

MODEL = "mobilenet_v1_025"


@pytest.fixture(scope="module")
def variables():
    return draw(shapes_of(MODEL)[1])


# timm 1.0.31: adapt_input_conv(channels, tensor([[[[1.]], [[2.]], [[4.]]]])).
@pytest.mark.parametrize(
    ("channels", "expected"),
    [(1, [7.0]), (2, [1.5, 3.0]), (3, [1.0, 2.0, 4.0]), (4, [0.75, 1.5, 3.0, 0.75]),
     (6, [0.5, 1.0, 2.0, 0.5, 1.0, 2.0])],
)  # fmt: skip
def test_kernels_are_timms(channels, expected):
    """Sums for one channel, else repeated and scaled; the other variables stay the same."""
    kernel = np.array([1, 2, 4], np.float32).reshape(1, 1, 3, 1)
    other = np.ones((3, 3, 1, 8), np.float32)
    found = netzoo.adapt_channels(
        {"params": {"stem": {"kernel": kernel}, "depthwise": {"kernel": other}}}, channels
    )["params"]
    np.testing.assert_array_equal(found["stem"]["kernel"].ravel(), expected)
    assert found["stem"]["kernel"].shape == (1, 1, channels, 1)
    assert found["depthwise"]["kernel"] is other


def test_a_network_reads_the_channels(variables):
    """A network of netzoo runs on images of the new number of channels."""
    module = shapes_of(MODEL)[0]
    adapted = netzoo.adapt_channels(variables, 4)
    images = np.zeros((2, 32, 32, 4), np.float32)
    logits = jax.eval_shape(lambda v, x: module.apply(v, x, train=False), adapted, images)
    assert logits.shape == (2, 7)


@pytest.mark.slow
def test_a_grey_image_is_three_equal_channels(variables):
    """The sum of the kernels gives the logits of the RGB network."""
    module = shapes_of(MODEL)[0]
    grey = np.random.default_rng(0).normal(size=(2, 32, 32, 1)).astype(np.float32)
    apply = jax.jit(lambda v, x: module.apply(v, x, train=False))
    expected = apply(variables, np.repeat(grey, 3, -1))
    found = apply(netzoo.adapt_channels(variables, 1), grey)
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_errors(variables):
    """A number of channels below 1 is an error, and so are weights without RGB kernels."""
    with pytest.raises(UserError, match="at least 1 channel, got 0"):
        netzoo.adapt_channels(variables, 0)
    with pytest.raises(UserError, match="no kernels of three channels"):
        netzoo.adapt_channels({"params": {"dense": {"kernel": np.zeros((3, 4))}}}, 1)
