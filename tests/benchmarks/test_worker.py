"""The peer of a benchmark is the network it is called, not netzoo's own once more."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from benchmarks.worker import with_layers_of
from netzoo.layers import BatchNorm, Conv
from netzoo.models import create_model

NETWORKS = ("alexnet_owt", "googlenet_tv", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small",
            "resnet18", "vgg11_bn")  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_is_replaced_and_the_parameters_stay(name):
    """Else the ratio would be 1 or, in part, of netzoo against itself."""
    model = create_model(name, num_classes=5)
    seen = set()

    def note(next_call, args, kwargs, context):
        seen.add(type(context.module))
        return next_call(*args, **kwargs)

    def init(key):
        return model.init(key, jnp.zeros((1, 64, 64, 3)), train=False)

    ours = jax.eval_shape(init, jax.random.key(0))
    with with_layers_of("flax", type(model)), nn.intercept_methods(note):
        theirs = jax.eval_shape(lambda key: init(key), jax.random.key(0))
    assert jax.tree.map(jnp.shape, theirs) == jax.tree.map(jnp.shape, ours)
    assert nn.Conv in seen and not {Conv, BatchNorm} & seen
