"""Conv equals flax.linen.Conv in every implementation."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.layers import Conv
from tests.conftest import slow

# Kernel, stride, groups, features, dilation, bias; the input has 8 channels.
CASES = {
    "pointwise": (1, 1, 1, 12, 1, False),
    "pointwise with bias": (1, 1, 1, 12, 1, True),
    "pointwise strided": (1, 2, 1, 12, 1, False),
    "pointwise grouped": (1, 1, 2, 12, 1, False),
    "pointwise depthwise": (1, 1, 8, 8, 1, False),
    "3x3": (3, 1, 1, 12, 1, False),
    "3x3 with bias, strided": (3, 2, 1, 12, 1, True),
    "3x3 dilated": (3, 1, 1, 12, 2, False),
    "7x7 strided": (7, 2, 1, 4, 1, False),
    "grouped": (3, 1, 2, 12, 1, False),
    "grouped with bias, strided": (3, 2, 4, 12, 1, True),
    "depthwise": (3, 1, 8, 8, 1, False),
    "depthwise with bias, strided": (5, 2, 8, 8, 1, True),
    "depthwise dilated": (3, 1, 8, 8, 2, False),
    "depthwise with multiplier 2": (3, 1, 8, 16, 1, False),
}


def pair(case, padding, dtype=jnp.float32):
    """Return the layer and flax's, configured alike."""
    kernel, stride, groups, features, dilation, bias = CASES[case]
    ours = Conv(
        features,
        kernel,
        stride=stride,
        groups=groups,
        dilation=dilation,
        use_bias=bias,
        padding=padding,
        dtype=dtype,
    )
    half = dilation * (kernel - 1) // 2
    flaxs = nn.Conv(
        features,
        (kernel, kernel),
        strides=stride,
        feature_group_count=groups,
        kernel_dilation=dilation,
        use_bias=bias,
        padding="SAME" if padding == "same" else ((half, half), (half, half)),
        dtype=dtype,
    )
    return ours, flaxs


def images(height=9, width=6):
    return jax.random.normal(jax.random.key(0), (2, height, width, 8))


SAME = [case for case in CASES if case == "3x3" or ("strided" in case and case != "7x7 strided")]


@pytest.mark.parametrize(
    ("case", "padding"),
    [
        *((case, "torch") for case in CASES),
        ("7x7 strided", "same"),
        *(slow(case, "same") for case in SAME),
    ],
)
def test_equals_flax(case, padding):
    """Parameters, values and gradients equal those of Flax."""
    ours, flaxs = pair(case, padding)
    x = images()
    params = jax.tree.map(
        lambda p: jax.random.normal(jax.random.key(p.size), p.shape),
        jax.eval_shape(ours.init, jax.random.key(1), x),
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(
        params, jax.eval_shape(flaxs.init, jax.random.key(1), x)
    )

    @jax.jit
    def both(params, x):
        def run(layer):
            y, pull_back = jax.vjp(layer.apply, params, x)
            return y, pull_back(jnp.cos(3 * jnp.arange(y.size)).reshape(y.shape))

        return run(ours), run(flaxs)

    actual, expected = both(params, x)
    # Sums of up to 7 * 7 * 8 products in another order: tens of units of 2^-24.
    chex.assert_trees_all_close(actual, expected, rtol=1e-5, atol=3e-5)


@pytest.mark.parametrize("case", ["3x3", "depthwise with bias, strided"])
def test_image_smaller_than_kernel(case):
    """The deepest stages of small images are 1x1 pixels under a 3x3 kernel."""
    ours, flaxs = pair(case, "torch")
    x = images(1, 2)
    params = jax.tree.map(
        lambda p: jnp.linspace(-1, 1, p.size).reshape(p.shape),
        jax.eval_shape(ours.init, jax.random.key(0), x),
    )
    actual, expected = jax.jit(lambda p, x: (ours.apply(p, x), flaxs.apply(p, x)))(params, x)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_conventions_agree_with_stride_1_and_differ_with_stride_2():
    """The padding convention changes results only where the libraries differ."""
    x = images(8, 8)
    for case, equal in [("3x3", True), ("3x3 with bias, strided", False)]:
        torch, same = (pair(case, padding)[0] for padding in ("torch", "same"))
        params = torch.init(jax.random.key(0), x)
        a, b = torch.apply(params, x), same.apply(params, x)
        assert a.shape == b.shape
        assert np.allclose(a, b) == equal


@pytest.mark.parametrize("case", ["pointwise with bias", "3x3", "grouped", "depthwise"])
@pytest.mark.parametrize("input_dtype", [jnp.float32, jnp.bfloat16])
def test_bfloat16_computes_and_float32_stores(case, input_dtype):
    """The result has `dtype`; parameters and gradients are float32."""
    ours, _ = pair(case, "torch", jnp.bfloat16)
    x = images().astype(input_dtype)
    params = jax.eval_shape(ours.init, jax.random.key(0), x)
    gradients = jax.eval_shape(jax.grad(lambda p: ours.apply(p, x).sum()), params)
    assert jax.eval_shape(ours.apply, params, x).dtype == jnp.bfloat16
    for leaf in jax.tree.leaves((params, gradients)):
        assert leaf.dtype == jnp.float32


@pytest.mark.parametrize("groups", [1, 4, 256])
def test_kernels_start_from_he_fan_out_over_all_groups(groups):
    """The deviation is sqrt(2 / (kernel area x features)) for any groups, as in PyTorch."""
    x = jnp.zeros((1, 4, 4, 256))
    kernel = Conv(256, 3, groups=groups).init(jax.random.key(0), x)["params"]["kernel"]
    # Relative spread of a deviation estimated from n values: 1 / sqrt(2 n), n at least 2,304.
    assert abs(float(kernel.std()) / np.sqrt(2 / (9 * 256)) - 1) < 0.05


def test_kernel_init_is_used():
    """A family may use other initializers."""
    layer = Conv(4, 3, kernel_init=nn.initializers.constant(0.5))
    params = layer.init(jax.random.key(0), jnp.zeros((1, 4, 4, 2)))["params"]
    np.testing.assert_array_equal(params["kernel"], jnp.full((3, 3, 2, 4), 0.5))
