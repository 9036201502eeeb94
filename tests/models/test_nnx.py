"""One network per family works in Flax NNX through its bridge, forward and gradient."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from netzoo.kernels import use_backend
from netzoo.models import create_model, transformer, vit
from tests.conftest import fast_only

SMALL_VIT = vit.Variant(width=8, depth=2, mlp_dim=12, heads=2, patch=8)
SMALL_TRANSFORMER = transformer.Variant(layers=2, width=8, mlp_dim=12, heads=2, dropout_rate=0.0)
# Small configurations of each family, and the side of the images; 0 for tokens.
FAMILIES = {
    "alexnet_owt": ({"hidden_features": 8}, 64),
    "vgg11_bn": ({"hidden_features": 8}, 32),
    "googlenet_tv": ({"auxiliary": False}, 32),
    "mobilenet_v1_025": ({}, 32),
    "mobilenet_v2_035": ({}, 32),
    "mobilenet_v3_small": ({"width_multiplier": 0.35}, 32),
    "resnet18": ({}, 32),
    "vit_ti16": ({"variant": SMALL_VIT}, 16),
    "r_ti16": ({"variant": SMALL_VIT._replace(patch=2)}, 16),
    "transformer_tiny": ({"variant": SMALL_TRANSFORMER}, 0),
}


@pytest.mark.parametrize("name", fast_only(FAMILIES, ["mobilenet_v1_025", "vit_ti16"]))
def test_logits_and_gradients_are_those_of_linen(name):
    """The NNX module has Linen's variable paths and lowers to the same program."""
    options, side = FAMILIES[name]
    linen = create_model(name, num_classes=5, **options)
    inputs = (jnp.zeros((2, side, side, 3)),) if side else (jnp.zeros((2, 4), jnp.int32),) * 2

    def bridged():
        return nnx.bridge.ToNNX(linen).lazy_init(*inputs, train=False, rngs=nnx.Rngs(0))

    graph, params, statistics = nnx.split(nnx.eval_shape(bridged), nnx.Param, nnx.BatchStat)

    def nnx_logits(params, statistics):
        return nnx.merge(graph, params, statistics)(*inputs, train=False)

    def linen_logits(params, statistics):
        variables = {"params": params, "batch_stats": statistics}
        return linen.apply(variables, *inputs, train=False)

    programs = [
        lowered(nnx_logits, params, statistics),
        lowered(linen_logits, nnx.to_pure_dict(params), nnx.to_pure_dict(statistics)),
    ]
    assert programs[0] == programs[1]


def lowered(logits_of, params, statistics):
    """Return the program of logits and gradients."""
    leaves, structure = jax.tree.flatten((params, statistics))
    count = len(jax.tree.leaves(params))

    def loss(trained, rest):
        logits = logits_of(*jax.tree.unflatten(structure, [*trained, *rest]))
        return jnp.square(logits).sum(), logits

    step = jax.jit(jax.grad(loss, has_aux=True))
    with use_backend("native"):  # shorter programs
        return step.lower(leaves[:count], leaves[count:]).as_text()
