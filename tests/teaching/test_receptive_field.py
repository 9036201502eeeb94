"""Receptive fields of networks whose gradients are known."""

import flax.linen as nn
import numpy as np
import pytest

from netzoo.layers import Conv, endpoint
from netzoo.teaching import field_widths, random_gradient_map


class Stack(nn.Module):
    """Convolutions whose kernels are 1, without an activation."""

    kernels: tuple[int, ...]

    @nn.compact
    def __call__(self, x, *, train):
        x = endpoint(self, "before", x)
        for kernel in self.kernels:
            x = Conv(1, kernel, kernel_init=nn.initializers.ones)(x)
        return endpoint(self, "after", x).mean((1, 2))


def windows(*sizes):
    """Return the convolution of uniform windows along an axis, in 11 places."""
    line = np.zeros(11)
    line[5] = 1
    for size in sizes:
        line = np.convolve(line, np.ones(size), "same")
    return np.outer(line, line)


@pytest.mark.parametrize("kernels", [(5,), (3, 3, 3)])
def test_the_gradient_of_the_centre_counts_the_paths_to_it(kernels):
    squares = random_gradient_map(Stack(kernels), 11, "before", "after", networks=2)
    expected = windows(*kernels) ** 2
    # Whole numbers below 2**24 are exact in float32, but the random weight of the channel is not.
    np.testing.assert_allclose(squares / squares.max(), expected / expected.max(), rtol=1e-6)


def test_the_source_is_the_endpoint_named():
    squares = random_gradient_map(Stack((3, 3)), 11, "after", "after", networks=1)
    assert squares[5, 5] > 0
    assert np.count_nonzero(squares) == 1


@pytest.mark.parametrize(
    ("sizes", "theoretical", "effective"),
    [((5,), 5, 5), ((7,), 7, 7), ((3, 3), 5, 17**0.5), ((3, 3, 3), 7, 5)],
)
def test_widths_of_known_windows(sizes, theoretical, effective):
    np.testing.assert_allclose(field_widths(windows(*sizes)), (theoretical, effective), rtol=1e-12)
