"""Depthwise convolution equals the native convolution, and replaces it on CPU."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from jax import lax

from netzoo.kernels.depthwise_conv import depthwise_conv
from netzoo.kernels.padding import spatial_padding
from netzoo.kernels.windows import Window
from tests.conftest import slow

CHANNELS = 5
# Kernel and image sizes: even and odd sides, and smaller than the kernel.
SHAPES = ((3, (7, 10)), (5, (8, 5)), (5, (3, 2)))
# Stride, dilation, padding.
OPTIONS = (*itertools.product((1, 2), (1, 2), ("torch", "same")), (3, 1, "same"), (3, 2, "torch"))


def native_conv(x, kernel, window):
    """XLA's own grouped convolution."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(window.stride, window.stride),
        padding=window.pads,
        rhs_dilation=(window.dilation, window.dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def value_and_gradients(conv, stride, padding, dilation, x, kernel, seed=1):
    """Return the output and, for an output gradient of small integers, both gradients."""
    pads = tuple(
        spatial_padding(size, kernel.shape[0], stride, padding, dilation) for size in x.shape[1:3]
    )
    window = Window(stride, pads, dilation)
    y, pull_back = jax.vjp(lambda x, k: conv(x, k, window), x, kernel)
    dy = np.random.default_rng(seed).integers(-4, 5, y.shape)
    return y, *pull_back(jnp.asarray(dy, y.dtype))


def inputs(size, kernel, draw):
    return (
        jnp.asarray(draw((2, *size, CHANNELS)), jnp.float32),
        jnp.asarray(draw((kernel, kernel, 1, CHANNELS)), jnp.float32),
    )


def integers(shape):
    return np.random.default_rng(0).integers(-4, 5, shape)


def normals(shape):
    return np.random.default_rng(0).normal(size=shape)


# Each stride, dilation and padding once.
FAST = [(1, 1, "torch"), (2, 2, "same"), (3, 1, "same")]


@pytest.mark.parametrize(
    ("stride", "dilation", "padding"), [o if tuple(o) in FAST else slow(*o) for o in OPTIONS]
)
def test_equals_native_exactly_on_integers(stride, dilation, padding):
    """Value and both gradients are exact for every geometry.

    Sums of small integers are exact in float32 in any order.
    """
    run = functools.partial(value_and_gradients, depthwise_conv, stride, padding, dilation)
    expect = functools.partial(value_and_gradients, native_conv, stride, padding, dilation)

    @jax.jit  # all shapes in one program, because compilation dominates the time
    def both(pairs):
        return [run(*pair) for pair in pairs], [expect(*pair) for pair in pairs]

    actual, expected = both([inputs(size, kernel, integers) for kernel, size in SHAPES])
    chex.assert_trees_all_equal(actual, expected)
    chex.assert_trees_all_equal_dtypes(actual, expected)
    for tree in expected:
        assert np.any(tree[0]), "an empty or all-zero output would prove nothing"


class NormalNumbersTest(chex.TestCase):
    """The same with rounding, compiled and op by op."""

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters((1, 3), (2, 5))
    def test_equals_native_on_normal_numbers(self, stride, kernel):
        """Results differ only by the order of summation.

        A few units of 2^-24 times the largest partial sum, about 10 for the 9 or 25 terms of
        outputs and 100 for the 2 x 12 x 9 terms of the kernel gradient.
        """
        x, k = inputs((12, 9), kernel, normals)
        run = self.variant(
            functools.partial(value_and_gradients, depthwise_conv, stride, "torch", 1)
        )
        actual = run(x, k)
        expected = value_and_gradients(native_conv, stride, "torch", 1, x, k)
        chex.assert_trees_all_close(actual[:2], expected[:2], rtol=0, atol=1e-5)
        chex.assert_trees_all_close(actual[2], expected[2], rtol=0, atol=5e-5)


def test_bfloat16_kernel_gradient_is_summed_in_float32():
    """The kernel gradient sums in float32: a bfloat16 sum of ones stops at 256."""
    x, window = jnp.ones((320, 5, 5, CHANNELS), jnp.bfloat16), Window(1, ((1, 1), (1, 1)))
    kernel = jnp.ones((3, 3, 1, CHANNELS), jnp.bfloat16)

    @jax.jit
    def gradient(kernel):
        y, pull_back = jax.vjp(lambda k: depthwise_conv(x, k, window), kernel)
        return pull_back(jnp.ones_like(y))[0]

    actual = gradient(kernel)
    assert actual.dtype == jnp.bfloat16
    np.testing.assert_array_equal(actual[1, 1, 0], 320 * 25)  # 125 * 64: a bfloat16 number
    # A tap beside the centre misses one of five rows; 6,400 is 25 * 256.
    np.testing.assert_array_equal(actual[0, 1, 0], 320 * 20)


def test_bfloat16_keeps_its_type():
    """Outputs and gradients keep the dtype of the inputs."""
    x, kernel = (a.astype(jnp.bfloat16) for a in inputs((6, 6), 3, integers))
    for array in jax.eval_shape(
        functools.partial(value_and_gradients, depthwise_conv, 2, "torch", 1), x, kernel
    ):
        assert array.dtype == jnp.bfloat16


@pytest.mark.parametrize("stride", [1, 2])
def test_no_convolution_on_cpu(stride):
    """The CPU program has no grouped convolution, which XLA runs as a scalar loop."""
    run = functools.partial(value_and_gradients, depthwise_conv, stride, "torch", 1)
    text = jax.jit(run).lower(*inputs((8, 8), 3, integers)).as_text()
    assert "stablehlo.convolution" not in text
