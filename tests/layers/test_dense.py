"""The dense layer and its gradients equal those of flax."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from netzoo.layers import Dense


@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_equals_flax(shape, dtype):
    """Parameters, values and all gradients match."""
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
        # Sums of about ten products in another order: a few units in the last place.
        tolerance = 50 * float(jnp.finfo(dtype).eps) / 8
        chex.assert_trees_all_close(ours, theirs, rtol=tolerance, atol=tolerance)
