"""The endpoints of all families as layers: default, grid, order and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.inspection import Layer, default_layer, network_layers
from netzoo.inspection.layers import find_layer
from netzoo.kernels import use_backend
from netzoo.layers import perturbed
from netzoo.models import create_model, model_entry
from netzoo.models.summary import example_inputs, variable_shapes
from netzoo.models.vit import Variant
from tests.conftest import fast_only, own_networks, slow

# The default layer of one network of each family, and its grid.
DEFAULTS = {
    "alexnet": ("stage4/block1", (1, 1)),
    "vgg11": ("stage5/block2", (4, 4)),
    "googlenet": ("stage5/block2", (2, 2)),
    "mobilenet_v1_025": ("stage5/block2", (2, 2)),
    "mobilenet_v2_035": ("head", (2, 2)),
    "mobilenet_v3_small_075": ("head", (2, 2)),
    "resnet18": ("stage4/block2", (2, 2)),
    "vit_ti16": ("encoder/block11", (4, 4)),
    "r_ti16": ("encoder/block11", (2, 2)),
}
SIZE = 64


def traced(name, **options):
    """Return a network of five classes, and its variables as shapes."""
    model = create_model(name, num_classes=5, **options)
    return model, variable_shapes(model, SIZE)


def reached(closed, inputs):
    """Return for each of the first inputs of a program whether its first output depends on it."""
    found = []
    for index in range(inputs):
        known = {closed.jaxpr.invars[index]}
        for equation in closed.jaxpr.eqns:
            if any(v in known for v in equation.invars if not hasattr(v, "val")):
                known |= set(equation.outvars)
        found.append(closed.jaxpr.outvars[0] in known)
    return found


def family_of(name):
    factory = model_entry(name).factory
    return getattr(factory, "func", factory).__module__


def test_the_table_has_all_families():
    """A new family needs a line above."""
    images = [name for name in own_networks() if model_entry(name).image_size]
    assert {*map(family_of, images)} == {*map(family_of, DEFAULTS)}


@pytest.mark.parametrize("name", fast_only(DEFAULTS, ("vgg11", "vit_ti16")))
def test_every_family_has_a_default_layer_and_gradients(name):
    """The default has the expected grid, and the logits depend on a perturbation of any endpoint.

    An endpoint whose result the network does not use would have a gradient of 0.
    """
    model, variables = traced(name)
    layers = network_layers(model, variables, SIZE)
    assert (default_layer(layers).name, default_layer(layers).grid) == DEFAULTS[name]
    values = {x.name: x for x in layers if not x.name.endswith("attention_weights")}

    def logits(perturbations, variables, images):
        return model.apply(perturbed(variables, perturbations), images, train=False)

    zeros = {n: jax.ShapeDtypeStruct((1, *x.shape), x.dtype) for n, x in values.items()}
    with use_backend("native"):
        closed = jax.make_jaxpr(logits)(zeros, variables, *example_inputs(SIZE))
    assert dict(zip(sorted(values), reached(closed, len(zeros)), strict=True)) == (
        dict.fromkeys(sorted(values), True)
    )


def test_order_of_computation():
    """Outputs of scanned blocks are listed block by block, the block itself last."""
    model, variables = traced("vit_ti16", variant=Variant(16, 11, 16, 2, 16))
    names = [layer.name for layer in network_layers(model, variables, SIZE)]
    parts = ("/attention", "/attention_weights", "/mlp", "")
    blocks = [f"encoder/block{block}{part}" for block in range(1, 12) for part in parts]
    assert names == ["stem", *blocks, "encoder", "pre_logits"]


@pytest.mark.parametrize(
    ("depth", "pool", "expected"),
    [(3, "token", "encoder/block2"), slow(1, "token", "stem"), slow(3, "gap", "encoder")],
)
def test_default_of_a_vision_transformer(depth, pool, expected):
    """Every position has a gradient at the default, and with a class token not at `encoder`."""
    model = create_model("vit_ti16", 5, variant=Variant(16, depth, 16, 2, 16), pool=pool)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), variable_shapes(model, 32)
    )
    layers = network_layers(model, variables, 32)
    assert default_layer(layers).name == expected
    images = rng.normal(size=(1, 32, 32, 3)).astype(np.float32)

    def slopes(perturbations):
        return model.apply(perturbed(variables, perturbations), images, train=False)[0, 0]

    chosen = [default_layer(layers), find_layer(layers, "encoder")]
    zeros = {layer.name: jnp.zeros((1, *layer.shape)) for layer in chosen}
    got = jax.jit(jax.grad(slopes))(zeros)
    largest = [abs(layer.on_grid(got[layer.name])).max(-1) for layer in chosen]
    assert largest[0].shape == (1, 2, 2) and (largest[0] > 1e-4).all()
    assert (largest[1] > 0).all() == (pool == "gap")


def test_grid_without_class_token():
    """Tokens are in row-major order, after the class token."""
    layer = Layer("encoder", (10, 2), "float32")
    assert layer.tokens_before_patches == 1 and layer.grid == (3, 3)
    tokens = jnp.arange(20.0).reshape(1, 10, 2)
    np.testing.assert_array_equal(
        layer.on_grid(tokens)[0, :, :, 0], 2 + 2 * np.arange(9.0).reshape(3, 3)
    )
    assert Layer("encoder", (9, 2), "float32").tokens_before_patches == 0
    registers = Layer("encoder", (5 + 16, 2), "float32")
    assert registers.tokens_before_patches == 5 and registers.grid == (4, 4)
    assert Layer("encoder", (12, 2), "float32").grid is None
    assert Layer("encoder/block1/attention_weights", (3, 9, 9), "float32").grid is None


def test_a_network_without_endpoints_is_an_error():
    with pytest.raises(UserError, match="no endpoint with a grid"):
        default_layer([Layer("pre_logits", (8,), "float32")])
