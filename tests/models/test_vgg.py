"""VGG.

Columns of Table 1, BatchNorm, and classifiers for any image size. `tests/parity` compares values
with torchvision and timm.
"""

import chex
import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.layers import BatchNorm, Conv, Dense, Dropout
from netzoo.models import create_model, list_models
from netzoo.weights.families import layouts
from netzoo.weights.state_dict import to_tensors, to_variables

# Table 1 of the paper, "conv3-64" as (3, 64), stage by stage.
COLUMNS = {
    "vgg11": [[(3, 64)], [(3, 128)], [(3, 256)] * 2, [(3, 512)] * 2, [(3, 512)] * 2],
    "vgg13": [[(3, 64)] * 2, [(3, 128)] * 2, [(3, 256)] * 2, [(3, 512)] * 2, [(3, 512)] * 2],
    "vgg16_c": [
        [(3, 64)] * 2,
        [(3, 128)] * 2,
        [(3, 256), (3, 256), (1, 256)],
        [(3, 512), (3, 512), (1, 512)],
        [(3, 512), (3, 512), (1, 512)],
    ],
    "vgg16": [[(3, 64)] * 2, [(3, 128)] * 2, [(3, 256)] * 3, [(3, 512)] * 3, [(3, 512)] * 3],
    "vgg19": [[(3, 64)] * 2, [(3, 128)] * 2, [(3, 256)] * 4, [(3, 512)] * 4, [(3, 512)] * 4],
}
COLUMNS |= {f"{name}_bn": column for name, column in COLUMNS.items() if name != "vgg16_c"}


def small(name="vgg11_bn", **options):
    """Five classes, and hidden layers narrow enough to generate quickly."""
    return create_model(name, **{"num_classes": 5, "hidden_features": 16, **options})


def shapes(model, size=(32, 32)):
    """Return what `init` would, as shapes."""
    images = jnp.zeros((2, *size, 3))
    return jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0))


def endpoints(model, size=(32, 32)):
    """Return the shapes of all endpoints."""
    x = jnp.zeros((2, *size, 3))
    _, state = jax.eval_shape(
        lambda v: model.apply(v, x, train=False, mutable=["endpoints"]), shapes(model)
    )
    return {name: leaf.shape for name, leaf in state["endpoints"].items()}


@pytest.fixture(scope="module")
def variables():
    """Random variables that keep the scale of the signal."""
    rng = np.random.default_rng(0)
    flat = flax.traverse_util.flatten_dict(shapes(small()))
    for path, leaf in flat.items():
        if path[-1] == "kernel":
            value = rng.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))
        else:
            value = np.full(leaf.shape, path[-1] in ("scale", "var")) + rng.uniform(0, 0.1)
        flat[path] = jnp.asarray(value, jnp.float32)
    return flax.traverse_util.unflatten_dict(flat)


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(1), (4, 32, 32, 3))


@pytest.fixture(scope="module")
def train(variables, images):
    """Map a dropout key to gradients, logits and new statistics."""

    @jax.jit
    def step(key):
        def loss(params):
            logits, state = small().apply(
                {**variables, "params": params},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
            return (logits**2).sum(), (logits, state["batch_stats"])

        return jax.grad(loss, has_aux=True)(variables["params"])

    return step


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_of_table_1(name):
    """Kernels and channels stage by stage; C's third convolutions are 1x1, D's are 3x3."""
    params = shapes(create_model(name))["params"]
    channels, expected = 3, {}
    for stage, column in enumerate(COLUMNS[name], start=1):
        for block, (side, features) in enumerate(column, start=1):
            expected[f"stage{stage}_block{block}"] = (side, side, channels, features)
            channels = features
    expected |= {"hidden1": (25088, 4096), "hidden2": (4096, 4096), "logits": (4096, 1000)}
    kernels = {layer: p["kernel"].shape for layer, p in params.items() if "kernel" in p}
    assert kernels == expected
    # torchvision and the paper have a bias in every layer, even before BatchNorm.
    assert all("bias" in params[layer] for layer in kernels)
    norms = {layer for layer in params if layer.endswith("_norm")}
    convolutions = [layer for layer in kernels if layer.startswith("stage")]
    assert norms == {f"{layer}_norm" for layer in convolutions if name.endswith("_bn")}


def test_every_name_is_a_column():
    """Every network must be in the tables of this file."""
    assert set(list_models("vgg*")) == set(COLUMNS)


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        ((224, 224), [(224, 224), (112, 112), (56, 56), (28, 28), (14, 14)]),
        ((61, 45), [(61, 45), (30, 22), (15, 11), (7, 5), (3, 2)]),
    ],
)
def test_shape_contract_of_the_docstring(size, sides):
    """Endpoints precede the pools; odd sizes round down."""
    expected = {
        f"stage{stage}/block{block}": (2, *side, features)
        for stage, (column, side) in enumerate(zip(COLUMNS["vgg16"], sides, strict=True), start=1)
        for block, (_, features) in enumerate(column, start=1)
    }
    model = small("vgg16")
    assert endpoints(model, size) == {**expected, "pre_logits": (2, 16)}
    chex.assert_trees_all_equal_shapes_and_dtypes(shapes(model, size), shapes(model))


def test_the_order_of_layers():
    """The order is convolution, BatchNorm, ReLU, with dropout after both hidden layers."""
    order = []

    def note(next_call, args, kwargs, context):
        layer = context.module
        if context.method_name != "__call__":
            return next_call(*args, **kwargs)
        if isinstance(layer, BatchNorm):
            order.append((layer.momentum, layer.epsilon, layer.dtype))
        elif isinstance(layer, Conv | Dense | nn.Dense):
            order.append((layer.name, layer.dtype))
        elif isinstance(layer, Dropout):
            order.append(layer.rate)
        return next_call(*args, **kwargs)

    half = jnp.bfloat16
    model = small(norm_momentum=0.5, norm_epsilon=1e-3, dropout_rate=0.4, dtype=half)
    tree, x = shapes(model), jnp.zeros((2, 32, 32, 3))
    rngs = {"dropout": jax.random.key(0)}
    with nn.intercept_methods(note):
        jax.eval_shape(
            lambda v: model.apply(v, x, train=True, rngs=rngs, mutable=["batch_stats"]), tree
        )
    expected = []
    for stage, column in enumerate(COLUMNS["vgg11_bn"], start=1):
        for block in range(1, len(column) + 1):
            expected += [(f"stage{stage}_block{block}", half), (0.5, 1e-3, half)]
    expected += [("hidden1", half), 0.4, ("hidden2", half), 0.4, ("logits", None)]
    assert order == expected
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        jax.eval_shape(lambda v: model.apply(v, x, train=True, mutable=["batch_stats"]), tree)


@pytest.mark.slow
def test_endpoints_and_evaluation(variables, images):
    """Endpoints do not change logits, images are independent, and blocks end with ReLU.

    The classifier repeats 1x1 features to 7x7, as in torchvision.
    """

    @jax.jit
    def both(images):
        asked, state = small().apply(variables, images, train=False, mutable=["endpoints"])
        return asked, state["endpoints"], small().apply(variables, images, train=False)

    asked, seen, plain = both(images)
    np.testing.assert_array_equal(asked, plain)
    mixed = both(images.at[1:].set(0))[0]
    np.testing.assert_allclose(plain[0], mixed[0], rtol=1e-5, atol=1e-6)
    assert not np.allclose(plain[1], mixed[1], rtol=1e-3)
    for name, value in seen.items():
        assert value.min() == 0 < value.max(), name
    features = np.asarray(seen["stage5/block2"]).max((1, 2))  # the last pool, 2x2 to 1x1
    hidden = variables["params"]["hidden1"]
    x = np.tile(features, 49) @ np.asarray(hidden["kernel"]) + np.asarray(hidden["bias"])
    hidden = variables["params"]["hidden2"]
    x = np.maximum(x, 0) @ np.asarray(hidden["kernel"]) + np.asarray(hidden["bias"])
    np.testing.assert_allclose(seen["pre_logits"], np.maximum(x, 0), rtol=1e-4, atol=1e-4)


@pytest.mark.slow  # tests/parity compares the gradient of every parameter
def test_every_parameter_learns(train):
    """Every parameter has a nonzero gradient, except for biases before BatchNorm."""
    gradients, _ = train(jax.random.key(0))
    for path, leaf in flax.traverse_util.flatten_dict(gradients).items():
        assert np.isfinite(leaf).all(), path
        size, scale = np.abs(leaf).max(), np.abs(gradients[path[0]].get("kernel", leaf)).max()
        if path[0].startswith("stage") and path[0][-5:] != "_norm" and path[1] == "bias":
            assert size < 1e-3 * scale, path
        else:
            assert size > 1e-3 * scale, path


@pytest.mark.slow  # one program of half a minute
def test_training_moves_every_statistic(train, variables):
    """`train=True` updates the running statistics of every layer."""
    _, (_, statistics) = train(jax.random.key(0))
    chex.assert_trees_all_equal_shapes_and_dtypes(statistics, variables["batch_stats"])
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), statistics, variables["batch_stats"])
    assert all(jax.tree.leaves(moved))


@pytest.mark.slow  # one program of half a minute
def test_dropout_follows_its_key(train):
    """Dropout acts only in training and depends only on the key."""
    first, same, other = (train(jax.random.key(k))[1][0] for k in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.allclose(first, other)


def test_bfloat16(variables, images):
    """bfloat16 results are close to float32; logits and parameters are float32."""
    model = small(dtype=jnp.bfloat16)
    apply = jax.jit(lambda v, x: model.apply(v, x, train=False, mutable=["endpoints"]))
    logits, state = apply(variables, images)
    chex.assert_trees_all_equal_shapes_and_dtypes(shapes(model), shapes(small()))
    assert state["endpoints"]["stage5/block2"].dtype == jnp.bfloat16
    assert state["endpoints"]["pre_logits"].dtype == logits.dtype == jnp.float32
    assert np.isfinite(logits).all()


def test_without_classes_it_gives_features():
    """`num_classes=0` returns the last hidden layer and has no parameters for logits."""
    model = small(num_classes=0)
    features, tree = jax.eval_shape(
        lambda key: model.init_with_output(key, jnp.zeros((2, 32, 32, 3)), train=False),
        jax.random.key(0),
    )
    assert (features.shape, features.dtype) == ((2, 16), jnp.float32)
    assert "logits" not in tree["params"]


@pytest.mark.parametrize("project", ["torchvision", "timm"])
def test_names_convert_back_and_forth(project, variables):
    """Exported weights are loaded exactly, including hidden layers as convolutions."""
    model = small()
    layout = layouts(model)[project](model, shapes(model))
    tensors = to_tensors(variables, layout)
    shape = {"torchvision": ("classifier.0.weight", (16, 25088)),
             "timm": ("pre_logits.fc1.weight", (16, 512, 7, 7))}[project]  # fmt: skip
    assert tensors[shape[0]].shape == shape[1]
    back = to_variables(tensors, layout, shapes(model), "tensors")
    chex.assert_trees_all_equal(back, jax.tree.map(np.asarray, variables))


@pytest.mark.parametrize("size", [(31, 64), (64, 31)])
def test_too_small_image_is_an_error_before_compilation(size):
    """Tracing raises an error for images that are too small, with the minimum size."""
    with pytest.raises(UserError, match=rf"{size[0]}x{size[1]}.*at least 32x32"):
        shapes(small(), size)
