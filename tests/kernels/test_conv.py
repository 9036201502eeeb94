"""The operations in programs of convolutions, for CPU and native backends."""

import re

import jax
import jax.numpy as jnp
import pytest

from netzoo import kernels
from netzoo.kernels.conv import convolve
from netzoo.kernels.windows import Window

X = jnp.zeros((2, 8, 8, 8))
PADS = ((1, 1), (1, 1))
# Taps, stride, dilation, groups, features.
CASES = [(1, 1, 1, 1, 12), (1, 2, 1, 1, 12), (3, 1, 1, 1, 12), (3, 2, 2, 1, 12), (3, 1, 1, 8, 8),
         (3, 2, 1, 8, 8), (3, 1, 1, 8, 16), (3, 1, 1, 2, 12), (4, 4, 1, 1, 12)]  # fmt: skip


def program(platform, taps, stride, dilation, groups, features):
    """Return the StableHLO of forward pass and gradients for any platform."""

    def run(x, kernel, dy):
        pads = PADS if taps == 3 else ((0, 0), (0, 0))
        window = Window(stride, pads, dilation)
        y, pull_back = jax.vjp(lambda x, k: convolve(x, k, window, groups), x, kernel)
        return y, pull_back(jnp.full_like(y, dy))

    kernel = jnp.zeros((taps, taps, 8 // groups, features))
    return jax.jit(run).trace(X, kernel, 1.0).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("case", CASES)
def test_native_programs_are_three_convolutions(case, platform):
    """Native programs have one convolution for the output and one for each gradient."""
    with kernels.use_backend("native"):
        text = program(platform, *case)
    assert text.count("stablehlo.convolution") == 3
    groups = re.findall(r"(?:feature|batch)_group_count = (\d+)", text)
    assert case[3] == 1 or groups.count(str(case[3])) == 3
    assert "stablehlo.dot" not in text


@pytest.mark.parametrize(("case", "count"), [(0, 0), (1, 0), (2, 3), (4, 0), (7, 6), (8, 0)])
def test_programs_for_a_cpu_use_the_implementations_that_are_fast_there(case, count):
    """CPU programs use products, shifted sums, or one convolution for each of few groups."""
    with kernels.use_backend("cpu"):
        assert program("cpu", *CASES[case]).count("stablehlo.convolution") == count
