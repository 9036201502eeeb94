"""Stochastic depth (Huang et al., arXiv:1603.09382) in blocks; test_vit.py tests that of a ViT."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.models.blocks import ConvNet, ConvNormAct, InvertedResidual, drop_path_factors
from netzoo.models.transformer import Transformer
from netzoo.models.transformer_stack import Stack


def test_inverted_residual_drops_the_branch_of_whole_examples():
    """Protects the identity of dropped examples, the mean, and blocks without a shortcut."""
    conv = ConvNormAct.of(ConvNet(), nn.relu6)
    x = jax.random.normal(jax.random.key(0), (600, 2, 2, 8))

    def run(key, rate, stride=1):
        block = InvertedResidual(conv, 8, 1, drop_rate=rate, stride=stride)
        rngs = {"params": jax.random.key(1), "dropout": key}
        return block.init_with_output(rngs, x, train=True)[0]

    outputs = jax.jit(
        lambda key: [run(key, 0.0), run(key, 0.3), run(key, 0.0, 2), run(key, 0.3, 2)]
    )
    plain, found, *halved = (np.asarray(y) for y in outputs(jax.random.key(2)))
    kept = (found != np.asarray(x)).any((1, 2, 3))
    assert kept.mean() == pytest.approx(0.7, abs=0.06)
    # BatchNorm's statistics are those of all examples, so the branch is only scaled.
    expected = x[kept] + (plain - x)[kept] / 0.7
    np.testing.assert_allclose(found[kept], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(*halved)


def test_evaluation_and_a_rate_of_0_draw_nothing():
    """Protects the results of scanned blocks: without factors, their program has no drop path."""
    x = jnp.zeros((2, 3, 4))
    assert drop_path_factors(Stack(3, False, {}), 0.0, 3, 2, x, train=True) is None
    assert drop_path_factors(Stack(3, False, {}), 0.5, 3, 2, x, train=False) is None


@pytest.mark.parametrize("decoder", [False, True])
def test_each_sublayer_of_a_transformer_has_its_mask(decoder):
    """Protects the rates 0, r / 2 and r of three blocks, per example, and the mean."""
    block = Transformer((3, 4, 4, 1, 0.0), 9, dropout_rate=0.0, norm_first=True).bind({})
    stack = Stack(3, False, block.encoder.block, 0.6)
    x, memory = jnp.zeros((2000, 2, 4)), jnp.zeros((2000, 2, 4)) if decoder else None
    run = functools.partial(stack.apply, memory=memory, train=True, details=True)
    tree = jax.eval_shape(
        lambda key: stack.init(key, x, memory=memory, train=False, details=False), jax.random.key(0)
    )
    tree = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), tree)
    # Each sublayer adds 1 to a channel of its own.
    layers = [("attention", "out"), ("mlp", "project"), ("cross_attention", "out")][: 2 + decoder]
    for channel, (sublayer, layer) in enumerate(layers):
        dense = tree["params"]["blocks"][sublayer][layer]
        dense["bias"] = dense["bias"].at[:, channel].set(1.0)
    outputs = jax.jit(lambda key: run(tree, x, rngs={"dropout": key})[1]["output"])
    added = np.diff([x, *outputs(jax.random.key(0))], axis=0)[..., : len(layers)]
    assert (added == added[:, :, :1]).all()
    factors = added[:, :, 0]  # [block, example, sublayer]
    for found, rate in zip(factors, (0.0, 0.3, 0.6), strict=True):
        np.testing.assert_allclose(found[found > 0.5], 1 / (1 - rate), rtol=1e-5)
        np.testing.assert_allclose((found == 0).mean(0), rate, atol=0.04)
    dropped = factors[1:] == 0
    np.testing.assert_allclose(dropped.all(0).mean(0), 0.3 * 0.6, atol=0.03)
    np.testing.assert_allclose(
        dropped.all(-1).mean(1), [0.3 ** len(layers), 0.6 ** len(layers)], atol=0.04
    )
