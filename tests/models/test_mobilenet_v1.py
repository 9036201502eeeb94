"""MobileNet V1: published sizes, shapes and details."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from netzoo.layers import BatchNorm, Conv
from netzoo.models import create_model
from netzoo.models.blocks import ConvNormAct
from netzoo.models.mobilenet_v1 import STAGES, SeparableBlock

SIDES = (112, 56, 28, 14, 7)
# Width: channels of stem and stages, and parameters with 1000 classes.
SIZES = {
    0.1: ((8, 8, 12, 25, 51, 102), 141_009),
    0.3: ((9, 19, 38, 76, 153, 307), 609_004),
    1.25: ((40, 80, 160, 320, 640, 1280), 6_270_840),  # timm's mobilenetv1_125
}


def shapes(model, size=32, method="init"):
    """Return what `init` would, as shapes."""
    images = jnp.zeros((2, size, size, 3))
    return jax.eval_shape(
        lambda key: getattr(model, method)(key, images, train=False), jax.random.key(0)
    )


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(1), (4, 32, 32, 3))


@pytest.mark.parametrize("width", SIZES)
def test_width_multiplier(width):
    """Channels are truncated to integers, for any width multiplier."""
    channels, parameters = SIZES[width]
    params = shapes(create_model("mobilenet_v1", width_multiplier=width))["params"]
    found = [params["stem"]["kernel"].shape[-1]]
    found += [params[f"stage{n}_block1"]["pointwise"]["kernel"].shape[-1] for n in range(1, 6)]
    assert tuple(found) == channels
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters


def test_shape_contract_of_the_docstring():
    """Table 1 of the paper at 224 pixels, block by block.

    The last depthwise convolution has stride 1, unlike the table.
    """
    x = jnp.zeros((2, 224, 224, 3))
    model = create_model("mobilenet_v1")

    def forward(key):
        variables = model.init(key, x, train=False)
        return model.apply(variables, x, train=False, mutable=["endpoints"])

    logits, state = jax.eval_shape(forward, jax.random.key(0))
    expected = {"stem": (2, 112, 112, 32), "pre_logits": (2, 1024)}
    for index, (stage, side) in enumerate(zip(STAGES, SIDES, strict=True), start=1):
        for block in range(1, stage.blocks + 1):
            expected[f"stage{index}/block{block}"] = (2, side, side, stage.channels)
    assert {name: leaf.shape for name, leaf in state["endpoints"].items()} == expected
    assert sum(stage.blocks for stage in STAGES) == 13
    assert logits.shape == (2, 1000)


def test_a_block_is_relu6_twice_and_has_no_residual(images):
    """ReLU6 follows both convolutions. Nothing is added to their result."""
    block = SeparableBlock(ConvNormAct(Conv, BatchNorm, nn.relu6), features=3)
    tree = block.init(jax.random.key(0), images, train=False)
    tree = jax.tree.map(lambda leaf: leaf * 9, tree)
    y, state = block.apply(
        tree, images, train=False, capture_intermediates=True, mutable=["intermediates"]
    )
    seen = {name: out["__call__"][0] for name, out in state["intermediates"].items()
            if name != "__call__"}  # fmt: skip
    assert seen["pointwise_norm"].min() < 0 and seen["pointwise_norm"].max() > 6
    chex.assert_trees_all_equal(y, jnp.clip(seen["pointwise_norm"], 0, 6))
    filtered = jnp.clip(seen["depthwise_norm"], 0, 6)
    kernel = tree["params"]["pointwise"]["kernel"][0, 0]
    chex.assert_trees_all_close(seen["pointwise"], filtered @ kernel, rtol=1e-5, atol=1e-4)
