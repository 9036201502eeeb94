"""The gradients of dense convolution are fast in loops too."""

import re

import jax
import jax.numpy as jnp
import pytest

from netzoo.layers import Conv


@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (1, 2)])
def test_gradients_in_a_loop_have_the_fast_layout(stride, groups):
    """XLA rewrites convolutions only outside loops; steps took 18 times as long."""
    layer = Conv(8, 3, stride=stride, groups=groups)
    x = jnp.zeros((2, 4, 8, 8, 4))
    variables = layer.init(jax.random.key(0), x[0])

    # Two layers, so that the gradient of images is also needed.
    def step(variables, x):
        def loss(variables):
            y = layer.apply(variables, x)
            return jnp.square(layer.apply(variables, y[..., :4])).sum()

        return jax.tree.map(jnp.subtract, variables, jax.grad(loss)(variables)), None

    program = jax.jit(lambda variables, x: jax.lax.scan(step, variables, x)).lower(variables, x)
    layouts = set(re.findall(r" convolution\(.*dim_labels=([\w>-]+)", program.compile().as_text()))
    assert layouts == {"b01f_01io->b01f"}
