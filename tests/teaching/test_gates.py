"""The gates of squeeze-excite, and what the class explains of them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.layers import SqueezeExcite
from netzoo.teaching import class_share, squeeze_excite_gates


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(5)(SqueezeExcite(2, name="squeeze_excite")(x))


class Network(nn.Module):
    @nn.compact
    def __call__(self, images, *, train):
        return Block(name="stage1_block1")(images).mean((1, 2))


def test_gates_are_the_hard_sigmoids_of_the_last_dense_layer():
    images = np.zeros((2, 4, 4, 3), np.uint8)
    variables = Network().init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), train=False)
    expand = variables["params"]["stage1_block1"]["squeeze_excite"]["expand"]
    expand["kernel"], expand["bias"] = jnp.zeros((2, 3)), jnp.array([-4.0, 0.0, 1.5])
    gates = squeeze_excite_gates(Network(), variables, images)
    assert list(gates) == ["stage1_block1"]
    # hard sigmoid: 0 below -3, 1 above 3, and (x + 3) / 6 between; one float32 rounding
    np.testing.assert_allclose(gates["stage1_block1"], [[0, 0.5, 0.75]] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "share"),
    [
        ([[0, 1], [0, 1], [4, 3], [4, 3]], 1.0),  # the same within each class
        ([[0, 1], [4, 3], [0, 1], [4, 3]], 0.0),  # the same class means
        ([[0], [2], [4], [6]], 0.8),  # deviations -3, -1, 1, 3; class means -2 and 2: 16 of 20
    ],
)
def test_class_share(values, share):
    assert class_share(np.array(values, float), np.array([0, 0, 1, 1])) == pytest.approx(share)
