"""Learning rates that fall from the head to the first layer, for every family."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.config import default_config
from netzoo.errors import UserError
from netzoo.models import create_model
from netzoo.models.registry import model_entry
from netzoo.models.summary import variable_shapes
from netzoo.training.layer_order import describe, layer_factors
from netzoo.training.optimizer import create_optimizer
from netzoo.training.patterns import path_name
from tests.conftest import fast_only, own_networks

# One network of each structure; all others differ in numbers of blocks and channels.
FAMILIES = ("alexnet", "mobilenet_v3_small_minimalistic", "r_ti16", "transformer_tiny")


def shapes_in_order(name):
    """Return the parameters of a network, and the first names of its modules as they are called."""
    calls = []

    def note(next_call, args, kwargs, context):
        if len(context.module.path) >= 1:
            calls.append(context.module.path[0])
        return next_call(*args, **kwargs)

    options = {"share_embeddings": False} if name.startswith("transformer") else {}
    model = create_model(name, num_classes=5, **options)
    with nn.intercept_methods(note):
        params = variable_shapes(model, model_entry(name).image_size)["params"]
    return params, [*dict.fromkeys(calls)]


@pytest.mark.parametrize(
    "name",
    fast_only(own_networks(), FAMILIES),
)
def test_factors_rise_in_the_order_of_the_computation(name):
    """Protects every family: each layer learns faster than those before it, the head fully."""
    params, calls = shapes_in_order(name)
    factors, leaves = layer_factors(0.5, params), jax.tree_util.tree_leaves_with_path(params)
    by_module = {}
    for (path, leaf), factor in zip(leaves, jax.tree.leaves(factors), strict=True):
        assert np.broadcast_shapes(np.shape(factor), leaf.shape) == leaf.shape
        by_module.setdefault(path_name(path).split("/")[0], []).append(np.ravel(factor))
    heads = [module for module in calls if module.startswith("aux")]
    assert all((np.concatenate(by_module[head]) == 1).all() for head in heads)
    # The target's embedding is an input, although the encoder runs before it is used.
    apart = [*heads, "target_embedding"]
    called = [
        np.unique(np.concatenate(by_module[call]))
        for call in calls
        if call in by_module and call not in apart
    ]
    # A norm or a position embedding may share the factor of the layer before it.
    for before, after in itertools.pairwise(called):
        assert after[0] in (before[-1], 2 * before[-1])
    assert (called[-1] == 1).all() and called[0].max() <= 0.25
    values = np.unique(np.concatenate([x for own in by_module.values() for x in own]))
    np.testing.assert_array_equal(values, 0.5 ** np.arange(len(values))[::-1])


def test_a_transformer_with_one_embedding():
    """Protects the shared matrix: it is the first layer, and the last block has the factor 1."""
    params = variable_shapes(create_model("transformer_tiny", num_classes=5), 0)["params"]
    factors = layer_factors(0.5, params)
    assert factors["embedding"]["embedding"] == 0.5**8
    blocks = factors["decoder"]["blocks"]["mlp"]["expand"]["kernel"]
    assert blocks.shape == (4, 1, 1) and blocks[-1] == 1
    assert factors["encoder"]["blocks"]["mlp"]["expand"]["bias"][0] == 0.5**7


def test_the_factors_of_beit():
    """Protects the published numbering of a ViT: embeddings 0, blocks 1 to 12, head 13."""
    params = variable_shapes(create_model("vit_ti16", num_classes=5), 224)["params"]
    factors = layer_factors(0.75, params)
    for name in ("class_token", "position_embedding"):
        assert factors[name] == pytest.approx(0.75**13)
    assert factors["embedding"]["kernel"] == pytest.approx(0.75**13)
    kernel = factors["encoder"]["blocks"]["attention"]["query"]["kernel"]
    np.testing.assert_allclose(kernel[:, 0, 0], 0.75 ** np.arange(12.0, 0, -1), rtol=1e-6)
    assert factors["logits"]["bias"] == 1
    lines = describe(0.75, params).splitlines()
    assert lines[1] == "  embedding -> 0.0238: 185,664 parameters" and len(lines) == 15
    assert lines[-2].startswith("  encoder/block12 -> 0.75: ")


def test_updates_have_both_factors():
    """Protects the combination with `lr_mults`, in a stack too; 0 still freezes."""
    config = default_config()
    config.optimizer.update(name="sgd", layer_decay=0.5)
    config.optimizer.lr_mults = (("stem/bias", 0.0), ("encoder/.*", 0.1), (".*", 1.0))
    config.optimizer.weight_decay_mults = ((".*", 1.0),)
    params = {
        "stem": {"kernel": jnp.ones(2), "bias": jnp.ones(2)},
        "encoder": {"blocks": {"scale": jnp.ones((2, 3))}, "norm": {"scale": jnp.ones(3)}},
        "logits": {"bias": jnp.ones(2)},
    }
    optimizer = create_optimizer(config, lambda step: 1.0, params)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    expected = {
        "stem": {"kernel": [0.125] * 2, "bias": [0, 0]},
        "encoder": {
            "blocks": {"scale": [[0.025] * 3, [0.05] * 3]},
            "norm": {"scale": [0.05] * 3},
        },
        "logits": {"bias": [1, 1]},
    }
    for path, update in jax.tree_util.tree_leaves_with_path(updates):
        value = expected
        for key in path:
            value = value[key.key]
        np.testing.assert_allclose(-update, value, rtol=1e-6, atol=0)


def test_a_network_with_other_names():
    """Protects users' own networks from factors that mean nothing."""
    with pytest.raises(UserError, match="cannot tell the place of conv/kernel"):
        layer_factors(0.5, {"conv": {"kernel": jnp.ones(2)}})
