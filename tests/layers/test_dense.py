"""The dense layer is flax's, in its hand-written gradients too."""

import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from netzoo.kernels.matmul import FEW_ROWS, LARGE_KERNEL, matmul
from netzoo.layers import Dense


@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_equals_flax(shape, dtype):
    """Parameters, values and all gradients; a wrong backward pass would only train worse."""
    with jax.enable_x64(dtype == "float64"):
        x = jax.random.normal(jax.random.key(0), shape, dtype)
        layers = Dense(7, jnp.dtype(dtype)), nn.Dense(7, dtype=jnp.dtype(dtype))
        variables = [layer.init(jax.random.key(1), x) for layer in layers]
        chex.assert_trees_all_equal(*variables)

        def run(layer):
            def loss(variables, x):
                y = layer.apply(variables, x)
                return (jnp.sin(y) * jnp.arange(y.size).reshape(y.shape)).sum(), y

            return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(variables[0], x)

        ours, theirs = map(run, layers)
        chex.assert_trees_all_equal_dtypes(ours, theirs)
        # Sums of some ten products in another order: a few units in the last place.
        tolerance = 50 * float(jnp.finfo(dtype).eps) / 8
        chex.assert_trees_all_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("rows", [1, 2, FEW_ROWS, FEW_ROWS + 1])
def test_few_rows_times_a_large_kernel(rows):
    """The convolution that stands in for the product gives the same, and nothing else uses it."""
    width = math.isqrt(LARGE_KERNEL)
    x = jax.random.normal(jax.random.key(0), (rows, width))
    kernel = jax.random.normal(jax.random.key(1), (width, width)) / width**0.5
    compiled = jax.jit(matmul).lower(x, kernel).compile()
    assert ("convolution(" in compiled.as_text()) == (1 < rows <= FEW_ROWS)
    # Some 2,000 products, which have deviation 1 when added up, in another order.
    chex.assert_trees_all_close(compiled(x, kernel), jnp.dot(x, kernel), atol=2e-5)
    gradients = jax.grad(lambda x, kernel: jnp.sin(matmul(x, kernel)).sum(), argnums=(0, 1))
    native = jax.grad(lambda x, kernel: jnp.sin(x @ kernel).sum(), argnums=(0, 1))
    chex.assert_trees_all_close(gradients(x, kernel), native(x, kernel), atol=1e-4)
