"""Hybrids: strides of the ResNet, standardised kernels, and tokens."""

import chex
import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.layers import Conv, GroupNorm
from netzoo.models import create_model
from netzoo.models.hybrid_vit import StandardizedConv
from netzoo.models.vit import Variant

SMALL = Variant(width=16, depth=2, mlp_dim=24, heads=2, patch=1)
IMAGES = jax.random.normal(jax.random.key(1), (2, 64, 48, 3))
# A constant added to all scores of a query does not change the softmax.
WITHOUT_GRADIENT = {"encoder/blocks/attention/key/bias"}


def small(**options):
    """Stages of two and one blocks, with five classes; a token covers 8x8 pixels."""
    defaults = {"variant": SMALL, "stages": (2, 1), "num_classes": 5}
    return create_model("r26_s32", **{**defaults, **options})


def shapes(model, images=IMAGES):
    """Return what `init` would, as shapes."""
    return jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0))


def endpoint_shapes(name, size):
    """Return the shapes of all endpoints except the Transformer's blocks, without the batch."""
    model, x = create_model(name), jnp.zeros((2, size, size, 3))
    _, state = jax.eval_shape(
        lambda v: model.apply(v, x, train=False, mutable=["endpoints"]), shapes(model, x)
    )
    return {
        name: leaf.shape[1:]
        for name, leaf in state["endpoints"].items()
        if not name.startswith("encoder/")
    }


@pytest.fixture(scope="module")
def variables():
    """Random parameters, because `init` sets residual branches and logits to 0."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / 4, jnp.float32), shapes(small())
    )


@pytest.fixture(scope="module")
def evaluated(variables):
    """Logits and endpoints."""
    logits, state = jax.jit(
        lambda v, x: small().apply(v, x, train=False, mutable=["endpoints"])
    )(variables, IMAGES)  # fmt: skip
    return logits, state["endpoints"]


def test_shape_contract_of_the_docstring():
    """R50+ViT-B/16 at 224 pixels has three stages, the last with nine blocks."""
    expected = {"stem": (56, 56, 64), "encoder": (197, 768), "pre_logits": (768,)}
    stages = (("stage1", 3, 56, 256), ("stage2", 4, 28, 512), ("stage3", 9, 14, 1024))
    for stage, depth, side, channels in stages:
        for block in range(depth):
            expected[f"{stage}/block{block + 1}"] = (side, side, channels)
    assert endpoint_shapes("r50_b16", 224) == expected


@pytest.mark.parametrize("name", ["r_ti16", "r26_s32"])
def test_a_token_is_32_pixels_wide(name):
    """The stem of R+ViT-Ti/16 divides by 4, which gives 7 * 7 tokens."""
    found = endpoint_shapes(name, 224)
    assert found["encoder"] == (50, 192 if name == "r_ti16" else 384)
    if name == "r_ti16":
        assert set(found) == {"stem", "encoder", "pre_logits"}


@pytest.mark.parametrize(
    ("name", "width"), [("r_ti16", 32), ("r26_b32", 32), ("r50_l32", 32), ("r50_b16", 16)]
)
def test_sides_have_to_be_multiples_of_a_token(name, width):
    """The error states the required multiple of pixels."""
    with pytest.raises(UserError, match=rf"224x{width + 1} pixels.*multiples of {width}"):
        shapes(create_model(name), jnp.zeros((1, 224, width + 1, 3)))


@pytest.mark.parametrize("place", ["deviation", "variance"])
def test_standardised_kernels(place):
    """Every output channel is standardised, with each library's epsilon."""
    kernel = np.random.default_rng(0).normal(2.0, 0.1, (3, 3, 8, 6)).astype(np.float32)
    layer = StandardizedConv(6, 3, epsilon=0.01, epsilon_place=place)
    standardized = layer.transform(jnp.asarray(kernel))
    flat = kernel.reshape(-1, 6).astype(np.float64)
    std = flat.std(0)
    divisor = std + 0.01 if place == "deviation" else np.sqrt(std**2 + 0.01)
    expected = (flat - flat.mean(0)) / divisor
    np.testing.assert_allclose(standardized.reshape(-1, 6), expected, atol=1e-5)


def test_convolution_standardises_at_every_use():
    """Standardisation removes scale and offset, in float32."""
    x = jax.random.normal(jax.random.key(0), (2, 9, 8, 4))
    layer = StandardizedConv(6, 3, stride=2, padding="same", epsilon=0.0)
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 4, 6))
    y = layer.apply({"params": {"kernel": kernel}}, x)
    other = layer.apply({"params": {"kernel": 3 * kernel + 5}}, x)
    np.testing.assert_allclose(y, other, rtol=1e-4, atol=1e-4)
    plain = Conv(6, 3, stride=2, padding="same")
    expected = plain.apply({"params": {"kernel": layer.transform(kernel)}}, x)
    np.testing.assert_array_equal(y, expected)
    # In bfloat16, the offset would hide most of the differences.
    half = layer.clone(dtype=jnp.bfloat16).apply({"params": {"kernel": kernel + 300}}, x)
    np.testing.assert_allclose(half.astype(jnp.float32), y, atol=0.03 * np.abs(y).max())


def test_options_arrive_in_every_layer():
    """3x3 convolutions have the stride; epsilons and padding reach every layer."""
    convs, norms = [], set()

    def note(next_call, args, kwargs, context):
        layer = context.module
        if isinstance(layer, StandardizedConv) and context.method_name == "__call__":
            epsilon = layer.epsilon, layer.epsilon_place
            convs.append((layer.name, layer.kernel_size, layer.stride, layer.padding, epsilon))
        if isinstance(layer, GroupNorm):
            norms.add((layer.num_groups, layer.epsilon, layer.dtype))
        return next_call(*args, **kwargs)

    options = {
        "padding": "torch",
        "group_norm_epsilon": 1e-5,
        "standardize_epsilon": 1e-8,
        "standardize_epsilon_place": "variance",
        "dtype": jnp.bfloat16,
    }
    with nn.intercept_methods(note):
        shapes(small(**options))
    assert norms == {(32, 1e-5, jnp.bfloat16)}
    assert {conv[3:] for conv in convs} == {("torch", (1e-8, "variance"))}
    halving = [conv[:2] for conv in convs if conv[2] == 2]
    assert halving == [("stem", 7), ("conv2", 3), ("shortcut", 1)]
    assert len(convs) == 1 + 3 * 3 + 2


@pytest.mark.slow
def test_residual_branches_start_at_zero():
    """The last norm of a block starts at 0, and shortcuts have weights where channels change."""
    model, x = small(stages=(2,)), IMAGES[:, :8, :8]
    params = jax.jit(lambda key: model.init(key, x, train=False))(jax.random.key(0))["params"]
    for name, projected in (("stage1_block1", True), ("stage1_block2", False)):
        block = params[name]
        assert [bool(block[f"norm{i}"]["scale"].any()) for i in (1, 2, 3)] == [True, True, False]
        assert ("shortcut" in block) == ("shortcut_norm" in block) == projected
    assert "bias" not in params["stem"]
    std = params["stage1_block1"]["conv2"]["kernel"].std()
    np.testing.assert_allclose(std, (9 * 64) ** -0.5, rtol=0.02)


def test_endpoints_belong_to_the_logits(variables, evaluated):
    """Endpoints do not change logits; blocks end with ReLU; the last block is embedded."""
    logits, endpoints = evaluated
    plain = jax.jit(lambda v, x: small().apply(v, x, train=False))(variables, IMAGES)
    np.testing.assert_allclose(logits, plain, rtol=1e-4, atol=1e-4)
    assert endpoints["stage2/block1"].shape == (2, 8, 6, 512)
    assert endpoints["stage2/block1"].min() == 0
    dense = variables["params"]["logits"]
    expected = endpoints["pre_logits"] @ dense["kernel"] + dense["bias"]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_padding_conventions_differ_in_value_only(variables, evaluated):
    """SAME pads the end, in the stem and in its pooling."""
    torch = jax.jit(lambda v, x: small(padding="torch").apply(v, x, train=False))
    logits = torch(variables, IMAGES)
    chex.assert_trees_all_equal_shapes_and_dtypes(logits, evaluated[0])
    assert not np.allclose(logits, evaluated[0], rtol=1e-2)


@pytest.mark.slow  # tests/parity compares the gradient of every parameter
def test_training_reaches_every_parameter(variables):
    """All gradients are finite and nonzero."""
    model = small(stages=(1, 1), drop_path_rate=0.1)
    params = {name: leaf for name, leaf in variables["params"].items() if name != "stage1_block2"}
    weights = jax.random.normal(jax.random.key(2), (2, 5))

    def loss(params):
        rngs = {"dropout": jax.random.key(0)}
        return (weights * model.apply({"params": params}, IMAGES, train=True, rngs=rngs)).sum()

    gradients = jax.jit(jax.grad(loss))(params)
    chex.assert_tree_all_finite(gradients)
    for name, leaf in flax.traverse_util.flatten_dict(gradients, sep="/").items():
        assert (np.abs(leaf).max() > 1e-5) == (name not in WITHOUT_GRADIENT), name


@pytest.mark.slow
def test_bfloat16_has_float32_logits(variables, evaluated):
    """The network computes in `dtype`, except for the classifier."""
    model = small(dtype=jnp.bfloat16)
    apply = jax.jit(lambda v, x: model.apply(v, x, train=False, mutable=["endpoints"]))
    logits, state = apply(variables, IMAGES)
    dtypes = {name: leaf.dtype for name, leaf in state["endpoints"].items()}
    assert dtypes["stem"] == dtypes["stage2/block1"] == dtypes["encoder"] == jnp.bfloat16
    assert dtypes["pre_logits"] == logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, evaluated[0], atol=0.2 * np.abs(evaluated[0]).max())
