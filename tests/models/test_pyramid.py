"""Pyramids of features: strides and channels of all networks, and the values of one."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import netzoo
from netzoo.errors import UserError
from netzoo.models import create_model, model_entry
from netzoo.models.summary import variable_shapes
from tests.conftest import fast_only, own_networks

NETWORKS = [name for name in own_networks() if model_entry(name).image_size]
# The strides of networks whose strides are not 2 or 4 to 32.
OTHERS = {
    "alexnet": (8, 16, 32),
    "googlenet": (8, 16, 32),
    "vgg": (1, 2, 4, 8, 16),
    "r50_b16": (4, 8, 16),
    "r_ti16": (4, 32),
}


def expected_strides(name):
    for prefix, strides in OTHERS.items():
        if name.startswith(prefix):
            return strides
    if match := re.match(r"vit_[a-z]+(\d+)", name):
        return (int(match[1]),)
    return (2, 4, 8, 16, 32) if name.startswith("mobilenet") else (4, 8, 16, 32)


@pytest.mark.parametrize("name", fast_only(NETWORKS, ("alexnet", "mobilenet_v2_035", "resnet18")))
def test_every_network_has_a_pyramid(name):
    """Shapes are what the levels say, and the variables are those of the network."""
    size = model_entry(name).image_size
    pyramid = netzoo.model_features(name)
    assert tuple(level.stride for level in pyramid.levels) == expected_strides(name)
    assert "head" not in [level.name for level in pyramid.levels]
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    variables = variable_shapes(create_model(name, 0), size)
    maps = jax.eval_shape(lambda v, x: pyramid.apply(v, x, train=False), variables, images)
    for level, values in zip(pyramid.levels, maps, strict=True):
        batch, rows, columns, channels = values.shape
        assert (batch, channels) == (2, level.channels)
        assert rows == columns
        # AlexNet's convolutions and pools have no padding.
        assert rows == size // level.stride or name.startswith("alexnet")


@pytest.mark.slow
def test_values_are_endpoints_and_training_updates_statistics():
    """The last block of a resolution, before the head; BatchNorm learns as in the network."""
    pyramid = netzoo.model_features("mobilenet_v2_035", (8, "stage7/block1"))
    assert [tuple(level) for level in pyramid.levels] == [
        ("stage3/block3", 16, 8),
        ("stage7/block1", 112, 32),
    ]
    network, images = create_model("mobilenet_v2_035", 0), jnp.ones((2, 32, 32, 3))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: rng.random(leaf.shape, np.float32), variable_shapes(network, 32)
    )

    def run(variables, images):
        _, state = network.apply(variables, images, train=False, mutable=["endpoints"])
        _, updates = pyramid.apply(variables, images, train=True, mutable=["batch_stats"])
        return state["endpoints"], pyramid.apply(variables, images, train=False), updates

    endpoints, maps, updates = jax.jit(run)(variables, images)
    for level, values in zip(pyramid.levels, maps, strict=True):
        np.testing.assert_allclose(values, endpoints[level.name], rtol=1e-5)
    assert set(updates) == {"batch_stats"}


@pytest.mark.slow
def test_tokens_of_images_that_are_not_square():
    """Tokens are in rows of patches, without the class token."""
    pyramid = netzoo.model_features("vit_ti16", ("encoder/block6", 16))
    images = jax.ShapeDtypeStruct((1, 64, 96, 3), jnp.float32)
    maps, variables = jax.eval_shape(
        lambda key, x: pyramid.init_with_output(key, x, train=False), jax.random.key(0), images
    )
    assert [values.shape for values in maps] == [(1, 4, 6, 192)] * 2
    assert set(variables) == {"params"} and "logits" not in variables["params"]


@pytest.mark.parametrize(
    ("name", "stages", "message"),
    [
        ("resnet18", (64,), "resnet18 has no feature map of stride 64; strides: 4, 8, 16, 32"),
        ("resnet18", ("stage3/block9",), "unknown stage of resnet18 'stage3/block9'; did you mean"),
        ("transformer_base", None, "transformer_base reads tokens, not images"),
    ],
)
def test_errors(name, stages, message):
    with pytest.raises(UserError, match=message):
        netzoo.model_features(name, stages)
