"""AlexNet equals a NumPy reference, and the differences between its two variants.

No library has the paper's network, so the reference is here. `tests/parity` compares `alexnet_owt`
with torchvision.
"""

import re

import chex
import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.layers import Dense, Dropout
from netzoo.models import create_model

NAMES = ("alexnet", "alexnet_owt")
# Shapes of the kernels; two groups halve the input channels of layers 2, 4 and 5.
KERNELS = {
    "alexnet": {
        "stem": (11, 11, 3, 96),
        "stage1_block1": (5, 5, 48, 256),
        "stage2_block1": (3, 3, 256, 384),
        "stage3_block1": (3, 3, 192, 384),
        "stage4_block1": (3, 3, 192, 256),
        "hidden1": (9216, 4096),
        "hidden2": (4096, 4096),
        "logits": (4096, 1000),
    },
    "alexnet_owt": {
        "stem": (11, 11, 3, 64),
        "stage1_block1": (5, 5, 64, 192),
        "stage2_block1": (3, 3, 192, 384),
        "stage3_block1": (3, 3, 384, 256),
        "stage4_block1": (3, 3, 256, 256),
        "hidden1": (9216, 4096),
        "hidden2": (4096, 4096),
        "logits": (4096, 1000),
    },
}
# Widths after the stem, and after stages 1 to 4, of both networks.
SIDES = {227: (27, 13, 13, 13, 6), 224: (27, 13, 13, 13, 6), 64: (7, 3, 3, 3, 1)}
ENDPOINTS = ("stem", "stage1/block1", "stage2/block1", "stage3/block1", "stage4/block1")


def small(name, **options):
    """Five classes, and hidden layers narrow enough to generate quickly."""
    return create_model(name, **{"num_classes": 5, "hidden_features": 32, **options})


def shapes(model, size=64):
    """Return what `init` would, as shapes."""
    images = jnp.zeros((2, size, size, 3))
    return jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0))


def draw(model):
    """Return float64 variables that keep the variance of the signal, with biases that matter."""
    rng = np.random.default_rng(0)

    def value(leaf):
        scale = np.sqrt(2 / np.prod(leaf.shape[:-1])) if leaf.ndim > 1 else 0.1
        return rng.normal(size=leaf.shape) * scale

    return jax.tree.map(value, shapes(model))


def images(size, batch=1):
    """Values as large as pixels, so that the response normalisation has an effect."""
    return 60 * np.random.default_rng(1).normal(size=(batch, size, size, 3))


def windows(x, size, stride):
    """Return all windows inside the image, `[batch, H', W', C, size, size]`."""
    seen = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return seen[:, ::stride, ::stride]


def conv_relu(x, layer, *, stride=1, pad=0, groups=1):
    kernel = layer["kernel"]
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    towers = [
        np.tensordot(windows(half, kernel.shape[0], stride), weights, ((4, 5, 3), (0, 1, 2)))
        for half, weights in zip(np.split(x, groups, -1), np.split(kernel, groups, -1), strict=True)
    ]
    return np.maximum(np.concatenate(towers, -1) + layer["bias"], 0)


def response_norm(x):
    square = np.pad(x**2, ((0, 0), (0, 0), (0, 0), (2, 2)))
    total = sum(square[..., i : i + x.shape[-1]] for i in range(5))
    return x / (2 + 1e-4 * total) ** 0.75


def pool(x):
    return windows(x, 3, 2).max((4, 5))


def reference(params, x, pad):
    """Compute the paper's network layer by layer; return logits and endpoints."""
    out = {}
    x = conv_relu(x, params["stem"], stride=4, pad=pad)
    out["stem"] = x = pool(response_norm(x))
    x = conv_relu(x, params["stage1_block1"], pad=2, groups=2)
    out["stage1/block1"] = x = pool(response_norm(x))
    out["stage2/block1"] = x = conv_relu(x, params["stage2_block1"], pad=1)
    out["stage3/block1"] = x = conv_relu(x, params["stage3_block1"], pad=1, groups=2)
    x = conv_relu(x, params["stage4_block1"], pad=1, groups=2)
    out["stage4/block1"] = x = pool(x)
    x = x.reshape(len(x), 6 * 6 * 256)
    for name in ("hidden1", "hidden2"):
        x = np.maximum(x @ params[name]["kernel"] + params[name]["bias"], 0)
    out["pre_logits"] = x
    return x @ params["logits"]["kernel"] + params["logits"]["bias"], out


def relative(ours, expected):
    return np.abs(np.asarray(ours, np.float64) - expected).max() / np.abs(expected).max()


def test_equals_the_paper_in_float64():
    """Every layer equals the reference, in order: convolution, ReLU, normalisation, pool."""
    x = images(227)
    with jax.enable_x64(True):
        model = small("alexnet", dtype=jnp.float64)
        variables = draw(model)
        apply = jax.jit(lambda v, x: model.apply(v, x, train=False, mutable=["endpoints"]))
        logits, state = apply(jax.tree.map(jnp.asarray, variables), jnp.asarray(x))
    expected, out = reference(variables["params"], x, pad=0)
    assert logits.dtype == jnp.float64
    assert set(state["endpoints"]) == set(out) == {*ENDPOINTS, "pre_logits"}
    for name, value in out.items():
        assert relative(state["endpoints"][name], value) < 1e-10, name
    assert relative(logits, expected) < 1e-10


def test_224_pixels_are_padded_by_two():
    """224 pixels equal the usual padding by 2, within 1e-5 in float32."""
    x = images(224, batch=2)
    model = small("alexnet")
    variables = draw(model)
    expected, _ = reference(variables["params"], x, pad=2)

    @jax.jit
    def both(variables, x):
        asked, _ = model.apply(variables, x, train=False, mutable=["endpoints"])
        return asked, model.apply(variables, x, train=False)

    asked, plain = both(jax.tree.map(jnp.float32, variables), jnp.float32(x))
    np.testing.assert_array_equal(asked, plain)  # requesting endpoints changes nothing
    assert relative(plain, expected) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_kernels_and_biases(name):
    """Parameters have the right groups, widths and biases."""
    params = shapes(create_model(name))["params"]
    assert {layer: leaves["kernel"].shape for layer, leaves in params.items()} == KERNELS[name]
    assert all(leaves["bias"].shape == leaves["kernel"].shape[-1:] for leaves in params.values())


@pytest.mark.parametrize("name", NAMES)
def test_shape_contract_of_the_docstring(name):
    """Feature maps have the published sizes, and parameters do not depend on the image size."""
    model = small(name)
    channels = [KERNELS[name][path.replace("/", "_")][-1] for path in ENDPOINTS]
    for size, sides in SIDES.items():
        x = jnp.zeros((2, size, size, 3))
        logits, state = jax.eval_shape(
            lambda x: model.init_with_output(jax.random.key(0), x, train=False), x
        )
        chex.assert_trees_all_equal_shapes_and_dtypes(state, shapes(model))
        assert (logits.shape, logits.dtype) == ((2, 5), jnp.float32)
        _, state = jax.eval_shape(
            lambda v, x: model.apply(v, x, train=False, mutable=["endpoints"]), state, x
        )
        seen = [state["endpoints"][path].shape for path in ENDPOINTS]
        assert seen == [(2, s, s, c) for s, c in zip(sides, channels, strict=True)]
        assert state["endpoints"]["pre_logits"].shape == (2, 32)


@pytest.mark.parametrize("name", NAMES)
def test_where_dropout_acts(name):
    """Dropout follows the hidden layers in the paper, and precedes them in "One weird trick"."""
    order = []

    def note(next_call, args, kwargs, context):
        if isinstance(context.module, Dense | nn.Dense) and context.method_name == "__call__":
            order.append(context.module.name)
        if isinstance(context.module, Dropout):
            order.append(context.module.rate)
        return next_call(*args, **kwargs)

    model = small(name, dropout_rate=0.4)
    variables, x = shapes(model), jnp.zeros((2, 64, 64, 3))
    rngs = {"dropout": jax.random.key(0)}
    with nn.intercept_methods(note):
        jax.eval_shape(lambda v: model.apply(v, x, train=True, rngs=rngs), variables)
    expected = {
        "alexnet": ["hidden1", 0.4, "hidden2", 0.4, "logits"],
        "alexnet_owt": [0.4, "hidden1", 0.4, "hidden2", "logits"],
    }
    assert order == expected[name]
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        jax.eval_shape(lambda v: model.apply(v, x, train=True), variables)


def test_initial_values_of_the_paper():
    """Kernels have deviation 0.01; grouped and hidden layers have biases of 1, others 0."""
    model = small("alexnet", hidden_features=64)
    init = jax.jit(lambda key: model.init(key, jnp.zeros((1, 64, 64, 3)), train=False))
    params = init(jax.random.key(0))["params"]
    for layer, leaves in params.items():
        # At least 320 values, whose deviation is accurate to 4 %.
        assert abs(float(leaves["kernel"].std()) / 0.01 - 1) < 0.15, layer
        ones = layer in ("stage1_block1", "stage3_block1", "stage4_block1", "hidden1", "hidden2")
        np.testing.assert_array_equal(leaves["bias"], float(ones), layer)


@pytest.fixture(scope="module", params=NAMES)
def trained(request):
    """Name of the network, its lowered training step, and its results for two dropout keys."""
    model = small(request.param)
    variables = jax.tree.map(jnp.float32, draw(model))
    x = jnp.float32(images(96, batch=3)) / 60

    def loss(variables, key):
        logits = model.apply(variables, x, train=True, rngs={"dropout": key})
        return (logits**2).sum(), logits

    step = jax.jit(jax.grad(loss, has_aux=True))
    lowered = step.trace(variables, jax.random.key(0)).lower(lowering_platforms=("cpu",)).as_text()
    return lowered, [step(variables, jax.random.key(k)) for k in (0, 0, 1)]


def test_every_parameter_learns(trained):
    """Every parameter has a nonzero gradient."""
    _, [(gradients, _), *_] = trained
    for path, leaf in flax.traverse_util.flatten_dict(gradients).items():
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, path


def test_dropout_follows_its_key(trained):
    """Dropout acts only in training and depends only on the key."""
    _, [(_, first), (_, same), (_, other)] = trained
    np.testing.assert_array_equal(first, same)
    assert not np.allclose(first, other)


def test_training_on_cpu_has_no_grouped_convolution(trained):
    """Each group is a separate convolution; a grouped one is five times as slow on CPU."""
    groups = re.findall(r"(?:feature|batch)_group_count = (\d+)", trained[0])
    assert groups and set(groups) == {"1"}


@pytest.mark.parametrize("name", NAMES)
def test_without_classes_it_gives_features(name):
    """`num_classes=0` returns the last hidden layer and has no parameters for logits."""
    model = small(name, num_classes=0)
    features, variables = jax.eval_shape(
        lambda key: model.init_with_output(key, jnp.zeros((2, 64, 64, 3)), train=False),
        jax.random.key(0),
    )
    assert (features.shape, features.dtype) == ((2, 32), jnp.float32)
    assert "logits" not in variables["params"]


def test_bfloat16():
    """The computation is in bfloat16, with float32 parameters and logits."""
    model = small("alexnet", dtype=jnp.bfloat16)
    variables = jax.tree.map(jnp.float32, draw(model))
    apply = jax.jit(lambda v, x: model.apply(v, x, train=False, mutable=["endpoints"]))
    logits, state = apply(variables, jnp.float32(images(64)))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes(model))} == {jnp.dtype("float32")}
    assert {state["endpoints"][name].dtype for name in ENDPOINTS} == {jnp.dtype("bfloat16")}
    assert logits.dtype == jnp.float32 and np.isfinite(logits).all()


@pytest.mark.parametrize("size", [(63, 96), (96, 63)])
def test_too_small_image_is_an_error_before_compilation(size):
    """Tracing raises an error for images that are too small, with the minimum size."""
    model = small("alexnet")
    with pytest.raises(UserError, match=rf"{size[0]}x{size[1]}.*at least 64x64"):
        jax.eval_shape(
            lambda key: model.init(key, jnp.zeros((1, *size, 3)), train=False), jax.random.key(0)
        )
