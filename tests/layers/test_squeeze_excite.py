"""Squeeze-and-excitation against its formula."""

import chex
import jax
import jax.numpy as jnp

from netzoo.layers import SqueezeExcite


def test_squeeze_excite():
    """The gate is relu6(x + 3) / 6 of two dense layers on the channel means."""
    x = jax.random.normal(jax.random.key(0), (2, 3, 5, 24)) + 1
    layer = SqueezeExcite(8)
    tree = layer.init(jax.random.key(1), x)
    tree = jax.tree.map(lambda leaf: leaf + 0.5, tree)
    reduce, expand = (tree["params"][name] for name in ("reduce", "expand"))
    hidden = jnp.maximum(x.mean((1, 2)) @ reduce["kernel"] + reduce["bias"], 0)
    gate = jnp.clip(hidden @ expand["kernel"] + expand["bias"] + 3, 0, 6) / 6
    expected = x * gate[:, None, None, :]
    chex.assert_trees_all_close(layer.apply(tree, x), expected, rtol=1e-4, atol=1e-5)
