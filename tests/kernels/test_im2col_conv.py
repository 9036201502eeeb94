"""Convolution of images with fewer pixels than the kernel has taps: use and results.

Tolerances are those of `tests/kernels/test_implementations.py`.
"""

import functools

import jax
import numpy as np
import pytest

from netzoo.kernels.im2col_conv import has_few_pixels
from netzoo.kernels.windows import Window
from tests.kernels.test_implementations import (
    CHANNELS,
    assert_close,
    conv,
    native_conv,
    value_and_gradients,
)


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride"),
    [
        ((1, 1), 3, 1),
        ((2, 2), 3, 1),
        ((4, 4), 3, 2),
        ((2, 3), 3, 2),
        ((4, 4), 5, 1),
        ((8, 8), 7, 2),
    ],
)
def test_images_with_fewer_pixels_than_the_kernel_has_taps(size, kernel_size, stride):
    """Programs for small images contain no XLA convolution, which is 45 times as slow."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(kernel_size, kernel_size, CHANNELS, CHANNELS)).astype(np.float32)
    x = rng.normal(size=(8, *size, CHANNELS)).astype(np.float32)
    settings = (kernel_size, stride, 1, 1)
    ours = jax.jit(functools.partial(value_and_gradients, conv(*settings)))
    theirs = jax.jit(functools.partial(value_and_gradients, native_conv(*settings)))
    assert_close(ours(kernel, x), theirs(kernel, x))
    assert "convolution(" not in ours.lower(kernel, x).compile().as_text()


def test_few_pixels_of_many_stay_a_convolution():
    """Large images are not copied.

    AlexNet's 11x11 with stride 4 would copy each of 1,600 pixels six times.
    """
    assert not has_few_pixels((40, 40), 11, Window(4, ((2, 2), (2, 2))))
    assert not has_few_pixels((3, 3), 3, Window(1, ((1, 1), (1, 1))))
