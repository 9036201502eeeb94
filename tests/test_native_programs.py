"""Native programs use operations that any compiler supports, and compute the same as CPU programs.

The tests lower programs for a TPU with a symbolic batch, without compiling them.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export

from netzoo import kernels
from netzoo.models import create_model, model_entry
from netzoo.models.resnet import VARIANTS
from netzoo.models.summary import variable_shapes
from tests.conftest import fast_only, own_networks

NUM_CLASSES = 5
# One network per family, with every kind of layer that the family has.
FAMILIES = ("alexnet", "vgg11_bn", "googlenet_tv", "mobilenet_v1_025", "mobilenet_v2_035",
            "mobilenet_v3_small_075", "resnet18", "resnext50_32x4d", "vit_ti16",
            "r_ti16")  # fmt: skip
# The dense layers of the first two would take gigabytes in float64. The last one keeps a block of
# each kind: with and without a projection, with a stride of 1 and of 2.
SMALL = {
    "alexnet": {"hidden_features": 64},
    "vgg11_bn": {"hidden_features": 64},
    "resnext50_32x4d": {"variant": VARIANTS["resnext50_32x4d"]._replace(depths=(2, 1, 1, 1))},
}
# A convolution of each kind, and a Transformer.
FAST = ("alexnet", "mobilenet_v2_035", "resnet18", "vit_ti16")
# `jax.export` compares symbolic sizes by a call that it removes before compilation.
OF_EXPORT = {"shape_assertion"}


# Other sizes of `vit_s14_reg4_dinov2` and `vit_b16_clip`.
REPEATED = re.compile(r"vit_[sbl]14_dinov2|vit_[bl]14_reg4_dinov2|vit_(b32|l14|h14)_clip")


def image_networks():
    names = [name for name in own_networks() if model_entry(name).image_size]
    return [name for name in names if not REPEATED.fullmatch(name)]


def image_size(model):
    return 2 * model.pixels_per_token() if hasattr(model, "pixels_per_token") else 64


def training_loss(model, variables, images, labels):
    """Return the function from parameters to the loss and the new statistics."""
    constants = {name: tree for name, tree in variables.items() if name != "params"}

    def loss(params):
        logits, state = model.apply(
            {"params": params, **constants},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return losses.mean(), state

    return loss


def forward_and_step(model):
    """Return the function that evaluates and trains a network on images, in one program."""

    def program(variables, images, labels):
        loss = training_loss(model, variables, images, labels)
        step = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        return model.apply(variables, images, train=False), step

    return program


def forward_derivative(model):
    """Return the function that differentiates the loss along the parameters, in forward mode."""

    def program(variables, images, labels):
        params = variables["params"]
        loss = training_loss(model, variables, images, labels)
        return jax.jvp(loss, (params,), (params,), has_aux=True)[1]

    return program


def lower(program, *args):
    return export.export(jax.jit(program), platforms=["tpu"])(*args).mlir_module()


def assert_plain(text):
    """Assert that no StableHLO operation depends on the platform or on a specific compiler."""
    assert "stablehlo.case" not in text
    assert set(re.findall(r"custom_call @(\w+)", text)) <= OF_EXPORT


@pytest.mark.parametrize("name", fast_only(image_networks(), FAST))
def test_native_programs_are_plain_and_have_a_symbolic_batch(name):
    """Exports, converters and the compilers for GPU and TPU accept the programs, for any batch."""
    model = create_model(name, num_classes=NUM_CLASSES)
    side = image_size(model)
    (batch,) = export.symbolic_shape("batch")
    arguments = (
        variable_shapes(model, side),
        jax.ShapeDtypeStruct((batch, side, side, 3), jnp.float32),
        jax.ShapeDtypeStruct((batch,), jnp.int32),
    )
    with kernels.use_backend("native"):
        assert_plain(lower(forward_and_step(model), *arguments))
        assert_plain(lower(forward_derivative(model), *arguments))


@pytest.mark.parametrize("name", fast_only(image_networks(), ("alexnet", "vit_ti16")))
def test_programs_for_a_cpu_have_a_symbolic_batch(name):
    """No CPU implementation needs the number of images."""
    model = create_model(name, num_classes=NUM_CLASSES)
    side = image_size(model)
    (batch,) = export.symbolic_shape("batch")
    with kernels.use_backend("cpu"):
        logits, _ = jax.eval_shape(
            forward_and_step(model),
            variable_shapes(model, side),
            jax.ShapeDtypeStruct((batch, side, side, 3), jnp.float32),
            jax.ShapeDtypeStruct((batch,), jnp.int32),
        )
    assert logits.shape == (batch, NUM_CLASSES)


def test_the_transformer_has_a_plain_native_program():
    """The loss over a vocabulary is divided into blocks only on a CPU."""
    model = create_model("transformer_tiny", num_classes=50)
    (batch,) = export.symbolic_shape("batch")
    tokens = jax.ShapeDtypeStruct((batch, 8), jnp.int32)

    def program(variables, tokens):
        def loss(variables):
            return model.apply(
                variables,
                tokens,
                tokens,
                tokens,
                jnp.ones(tokens.shape),
                train=True,
                rngs={"dropout": jax.random.key(0)},
                method="cross_entropy",
            )[0]

        evaluated = model.apply(variables, tokens, tokens, train=False)
        return evaluated, jax.value_and_grad(loss)(variables)

    with kernels.use_backend("native"):
        assert_plain(lower(program, variable_shapes(model, 0), tokens))


def drawn(shapes, seed=0):
    """Return float64 variables that make every parameter matter, scales and variances about 1."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        name = path[-1].key
        if name in ("scale", "var"):
            return rng.uniform(0.5, 1.5, leaf.shape)
        if name == "kernel":
            return rng.normal(size=leaf.shape) * np.prod(leaf.shape[:-1]) ** -0.5
        return 0.1 * rng.normal(size=leaf.shape)

    return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.mark.slow  # tests/kernels compares the implementations one by one
@pytest.mark.parametrize("name", FAMILIES)
def test_both_backends_compute_the_same(name):
    """Logits, loss, statistics, gradients and a forward-mode derivative of a whole network.

    The comparison uses float64, because float32 rounding moves single activations across the kink
    of a ReLU. Errors are relative to the largest value of each array. 1e-9 is some millions of
    roundings; a wrong tap, term or dropout mask changes the first digits.
    """
    with jax.enable_x64(True):
        options = SMALL.get(name, {})
        model = create_model(name, num_classes=NUM_CLASSES, dtype=jnp.float64, **options)
        side = image_size(model)
        arguments = (
            drawn(variable_shapes(model, side)),
            np.random.default_rng(1).normal(size=(4, side, side, 3)),
            np.arange(4),
        )
        results = {}
        program = jax.jit(forward_and_step(model))
        for backend in ("cpu", "native"):
            with kernels.use_backend(backend):
                results[backend] = program(*arguments)
        with kernels.use_backend("native"):
            tangent = jax.jit(forward_derivative(model))(*arguments)
    leaves, tree = jax.tree.flatten(results["cpu"])
    assert jax.tree.structure(results["native"]) == tree
    largest = max(np.abs(leaf).max() for leaf in leaves)
    for ours, theirs in zip(leaves, jax.tree.leaves(results["native"]), strict=True):
        # The gradients of a bias before BatchNorm are only rounding errors, hence the second term.
        tolerance = 1e-9 * np.abs(ours).max() + 1e-12 * largest
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=tolerance)
    (_, _), gradients = results["cpu"][1]
    products = jax.tree.map(np.vdot, gradients, arguments[0]["params"])
    largest = max(np.abs(product) for product in jax.tree.leaves(products))
    assert abs(tangent - sum(jax.tree.leaves(products))) < 1e-9 * largest
