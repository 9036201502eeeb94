"""MobileNet V1: the published sizes and shapes, and the details that ports get wrong."""

import re

import chex
import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.layers import BatchNorm, Conv
from netzoo.models import create_model
from netzoo.models.mobilenet_v1 import STAGES, SeparableBlock

SIDES = (112, 56, 28, 14, 7)
# Width: channels of stem and stages, and parameters with 1000 classes.
SIZES = {
    0.1: ((8, 8, 12, 25, 51, 102), 141_009),
    0.3: ((9, 19, 38, 76, 153, 307), 609_004),
    1.25: ((40, 80, 160, 320, 640, 1280), 6_270_840),  # timm's mobilenetv1_125
}


def small(**options):
    """The narrowest published network, with five classes."""
    return create_model("mobilenet_v1_025", num_classes=5, **options)


def shapes(model, size=32, method="init"):
    """Returns what `init` would, as shapes."""
    images = jnp.zeros((2, size, size, 3))
    return jax.eval_shape(
        lambda key: getattr(model, method)(key, images, train=False), jax.random.key(0)
    )


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(1), (4, 32, 32, 3))


@pytest.fixture(scope="module")
def variables():
    """Drawn by NumPy: compiling `init` would take as long as the rest."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1] == "kernel":
            drawn = rng.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))
            return jnp.asarray(drawn, jnp.float32)
        return (jnp.ones if path[-1] in ("scale", "var") else jnp.zeros)(leaf.shape)

    return flax.traverse_util.path_aware_map(draw, shapes(small()))


@pytest.fixture(scope="module")
def evaluated(variables, images):
    """Logits, and logits and endpoints when these are asked for; compiled at once to save time."""

    def forward(variables, images):
        return (
            small().apply(variables, images, train=False),
            small().apply(variables, images, train=False, mutable=["endpoints"]),
        )

    return jax.jit(forward)(variables, images)


@pytest.mark.parametrize("width", SIZES)
def test_width_multiplier(width):
    """Any multiplier works; channels are cut to integers, not rounded to multiples of 8."""
    channels, parameters = SIZES[width]
    params = shapes(create_model("mobilenet_v1", width_multiplier=width))["params"]
    found = [params["stem"]["kernel"].shape[-1]]
    found += [params[f"stage{n}_block1"]["pointwise"]["kernel"].shape[-1] for n in range(1, 6)]
    assert tuple(found) == channels
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters


def test_shape_contract_of_the_docstring():
    """Table 1 of the paper at 224 pixels, block by block.

    The last depthwise convolution has stride 1 in spite of the table; with 2 it would see 4x4.
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
    """ReLU6 follows both convolutions, the second too, and nothing goes around them."""
    block = SeparableBlock(features=3, stride=1, conv=Conv, norm=BatchNorm)
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


def test_asking_for_endpoints_changes_nothing(variables, evaluated):
    """The logits are the same; the endpoint before them is what they come from."""
    logits, (asked, state) = evaluated
    np.testing.assert_allclose(logits, asked, rtol=1e-5, atol=1e-6)
    assert np.ptp(logits, axis=0).min() > 1e-3  # the images do not all look alike
    dense = variables["params"]["logits"]
    computed = state["endpoints"]["pre_logits"] @ dense["kernel"] + dense["bias"]
    np.testing.assert_allclose(logits, computed, rtol=1e-4, atol=1e-5)


def test_bfloat16(variables, images, evaluated):
    """Half precision gives finite float32 logits near those of full precision."""
    logits, _ = evaluated
    apply = jax.jit(lambda v, x: small(dtype=jnp.bfloat16).apply(v, x, train=False))
    half = apply(variables, images)
    assert half.dtype == logits.dtype == jnp.float32
    np.testing.assert_allclose(half, logits, atol=0.1 * np.abs(logits).max())


def test_every_parameter_is_trained(variables, images):
    """Each has a finite gradient that is not zero; every statistic moves."""

    def loss(params, key):
        logits, state = small().apply(
            {**variables, "params": params},
            images,
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        return (logits * jnp.arange(5)).sum(), state

    gradients, state = jax.jit(jax.grad(loss, has_aux=True))(variables["params"], jax.random.key(0))
    for path, leaf in flax.traverse_util.flatten_dict(gradients).items():
        assert np.isfinite(leaf).all() and np.any(leaf), path
    moved = jax.tree.map(
        lambda a, b: bool((a != b).any()), state["batch_stats"], variables["batch_stats"]
    )
    assert all(jax.tree.leaves(moved))


def test_without_classes_it_gives_features():
    """`num_classes=0` is the pooled representation, and has no parameters for logits."""
    model = create_model("mobilenet_v1_025", num_classes=0)
    features, tree = shapes(model, method="init_with_output")
    assert (features.shape, features.dtype) == ((2, 256), jnp.float32)
    assert "logits" not in tree["params"]


@pytest.mark.parametrize("size", [(31, 64), (64, 31)])
def test_too_small_image_is_an_error_before_compilation(size):
    """Tracing already refuses what the last stage could not hold, and says what is needed."""
    with pytest.raises(UserError, match=rf"{size[0]}x{size[1]}.*at least 32x32"):
        jax.eval_shape(
            lambda key: small().init(key, jnp.zeros((1, *size, 3)), train=False),
            jax.random.key(0),
        )


def test_options_arrive_in_every_layer():
    """Converted weights need their library's padding and epsilon, short runs their momentum."""
    seen = set()

    def note(next_call, args, kwargs, context):
        layer = context.module
        if isinstance(layer, BatchNorm):
            seen.add(("norm", layer.momentum, layer.epsilon, layer.dtype))
        if isinstance(layer, Conv):
            seen.add(("conv", layer.padding, layer.use_bias, layer.dtype))
        if isinstance(layer, nn.Dropout):
            seen.add(("dropout", layer.rate))
        return next_call(*args, **kwargs)

    with nn.intercept_methods(note):
        shapes(small(norm_momentum=0.5, norm_epsilon=1e-5, padding="same", dtype=jnp.bfloat16))
    assert seen == {
        ("norm", 0.5, 1e-5, jnp.bfloat16),
        ("conv", "same", False, jnp.bfloat16),
        ("dropout", 0.001),  # the authors' 0.999 is the share that is kept
    }


def test_training_on_cpu_has_no_grouped_convolution(variables, images):
    """No layer of the network escapes the road that is fast on CPU, forward or backward."""

    def loss(params):
        logits, _ = small(dropout_rate=0.0).apply(
            {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
        )
        return logits.sum()

    lowered = jax.jit(jax.grad(loss)).trace(variables["params"]).lower(lowering_platforms=("cpu",))
    groups = re.findall(r"(?:feature|batch)_group_count = (\d+)", lowered.as_text())
    assert groups and set(groups) == {"1"}
