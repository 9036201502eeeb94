"""The peer of a benchmark is another library's network, not netzoo's own."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from benchmarks.throughput import EXACT
from benchmarks.worker import make_program, with_layers_of
from netzoo.layers import BatchNorm, Conv, Dropout, MultiHeadAttention
from netzoo.models import create_model
from netzoo.models.hybrid_vit import StandardizedConv

NETWORKS = ("alexnet_owt", "googlenet_tv", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small",
            "resnet18", "vgg11_bn", "vit_ti16", "r26_s32")  # fmt: skip
OURS = {BatchNorm, Conv, Dropout, MultiHeadAttention, StandardizedConv}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_is_replaced_and_the_parameters_stay(name):
    """Otherwise, the ratio would compare netzoo, or parts of it, with itself."""
    model = create_model(name, num_classes=5)
    seen = set()

    def note(next_call, args, kwargs, context):
        seen.add(type(context.module))
        return next_call(*args, **kwargs)

    def init(key):
        keys = {"params": key, "dropout": key}
        return model.init(keys, jnp.zeros((1, 64, 64, 3)), train=True)

    ours = jax.eval_shape(init, jax.random.key(0))
    with with_layers_of("flax", type(model)), nn.intercept_methods(note):
        theirs = jax.eval_shape(lambda key: init(key), jax.random.key(0))
    assert jax.tree.map(jnp.shape, theirs) == jax.tree.map(jnp.shape, ours)
    assert nn.Conv in seen and not OURS & seen


@pytest.mark.slow
def test_both_compute_the_same():
    """Both are the same network; the second loss also depends on the gradients."""
    losses = {}
    for contestant in ("netzoo", "flax"):
        settings = {"model": "mobilenet_v1", "image_size": 32, "batch_size": 2, "mode": "train"}
        settings |= {"dtype": "float32", "remat": False, "contestant": contestant}
        step, state, facts = make_program(settings)
        assert facts["parameters"] == 4_231_976 and facts["exact"]
        state, first = step(state)
        losses[contestant] = [float(first), float(step(state)[1])]
    for ours, theirs, tolerance in zip(losses["netzoo"], losses["flax"], EXACT, strict=True):
        assert ours == pytest.approx(theirs, rel=tolerance)
