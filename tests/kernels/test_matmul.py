"""CPU implementations of matrix products: results and use."""

import math

import chex
import jax
import jax.numpy as jnp
import pytest

from netzoo import kernels
from netzoo.kernels.matmul import FEW_ROWS, LARGE_KERNEL, affine, matmul


@pytest.mark.parametrize("rows", [1, 2, FEW_ROWS, FEW_ROWS + 1])
def test_few_rows_times_a_large_kernel(rows):
    """The convolution that replaces a product gives the same, and is used only for few rows."""
    width = math.isqrt(LARGE_KERNEL)
    x = jax.random.normal(jax.random.key(0), (rows, width))
    kernel = jax.random.normal(jax.random.key(1), (width, width)) / width**0.5
    compiled = jax.jit(matmul).lower(x, kernel).compile()
    assert ("convolution(" in compiled.as_text()) == (1 < rows <= FEW_ROWS)
    # About 2,000 products, with a sum of deviation 1, in another order.
    chex.assert_trees_all_close(compiled(x, kernel), jnp.dot(x, kernel), atol=2e-5)
    gradients = jax.grad(lambda x, kernel: jnp.sin(matmul(x, kernel)).sum(), argnums=(0, 1))
    native = jax.grad(lambda x, kernel: jnp.sin(x @ kernel).sum(), argnums=(0, 1))
    chex.assert_trees_all_close(gradients(x, kernel), native(x, kernel), atol=1e-4)


@pytest.mark.parametrize("rows", [5, 6])
def test_several_layers_are_one_product_where_rows_are_many(rows):
    """Each layer has its own kernel and bias; native and with few rows, products are separate."""
    x = jax.random.normal(jax.random.key(0), (rows, 6))
    layers = [(jax.random.normal(jax.random.key(i), (6, 6)), jnp.full(6, i)) for i in range(3)]
    expected = [x @ kernel + bias for kernel, bias in layers]
    for backend, products in (("cpu", 3 if rows == 5 else 1), ("native", 3)):
        with kernels.use_backend(backend):
            assert str(jax.make_jaxpr(affine)(x, layers)).count("dot_general[") == products
            chex.assert_trees_all_close(affine(x, layers), expected, atol=1e-5)
