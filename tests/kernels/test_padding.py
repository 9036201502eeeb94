"""Padding: output lengths, values of both conventions, and the error for others."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from netzoo.kernels.padding import spatial_padding

SIZES = (1, 2, 3, 7, 8, 32, 33, 112, 225)


@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_is_tensorflows(kernel, stride, dilation):
    """`"same"` equals SAME of lax and TensorFlow, which converted Keras weights need."""
    for size in SIZES:
        window = dilation * (kernel - 1) + 1
        [expected] = lax.padtype_to_pads((size,), (window,), (stride,), "SAME")
        assert spatial_padding(size, kernel, stride, "same", dilation) == expected


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
def test_both_conventions_give_the_same_length(kernel, stride, dilation):
    """Both conventions give the same shapes."""
    image, taps = jnp.zeros((1, 1, 65, 64)), jnp.zeros((1, 1, kernel, kernel))

    def shape(padding):
        pads = [spatial_padding(n, kernel, stride, padding, dilation) for n in (65, 64)]
        convolve = functools.partial(
            lax.conv_general_dilated,
            window_strides=(stride, stride),
            padding=pads,
            rhs_dilation=(dilation, dilation),
        )
        return jax.eval_shape(convolve, image, taps).shape

    assert shape("torch") == shape("same") == (1, 1, -(-65 // stride), -(-64 // stride))


def test_where_the_two_differ():
    """Stride 2 over an even size: PyTorch pads both sides, TensorFlow only the end."""
    assert spatial_padding(224, 3, 2, "torch") == (1, 1)
    assert spatial_padding(224, 3, 2, "same") == (0, 1)
    assert spatial_padding(224, 7, 2, "torch") == (3, 3)
    assert spatial_padding(224, 7, 2, "same") == (2, 3)
    assert spatial_padding(56, 3, 1, "torch") == spatial_padding(56, 3, 1, "same") == (1, 1)


def test_unknown_convention_names_the_known_ones():
    """A misspelt convention is an error."""
    with pytest.raises(ValueError, match=r"'valid'.*torch, same"):
        spatial_padding(8, 3, 1, "valid")
