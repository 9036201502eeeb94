"""Vision Transformer: sizes, initialisation and the scan over blocks."""

import chex
import flax
import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from netzoo import kernels
from netzoo.errors import UserError
from netzoo.layers import Mlp, MultiHeadAttention
from netzoo.models import create_model
from netzoo.models.positions import resize_position_embedding
from netzoo.models.vit import Encoder, EncoderBlock, Variant, ViT
from tests.conftest import slow

SMALL = Variant(width=32, depth=3, mlp_dim=48, heads=2, patch=8)
IMAGES = jax.random.normal(jax.random.key(1), (4, 16, 24, 3))  # 2x3 patches
TOKENS = 1 + 2 * 3
# A constant added to all scores of a query does not change the softmax.
WITHOUT_GRADIENT = {"encoder/blocks/attention/key/bias"}


def small(**options):
    """Three narrow blocks, with five classes."""
    return create_model("vit_ti16", **{"variant": SMALL, "num_classes": 5, **options})


def shapes(model, images=IMAGES):
    """Return what `init` would, as shapes."""
    return jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0))


def draw(model):
    """Draw all parameters, because `init` sets the logits to 0."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / 4, jnp.float32), shapes(model)
    )


def apply(model, **options):
    """Return the compiled evaluation, `apply(...)(variables, images)`."""
    return jax.jit(lambda v, x: model.apply(v, x, train=False, **options))


@pytest.fixture(scope="module")
def variables():
    return draw(small())


@pytest.fixture(scope="module")
def evaluated(variables):
    """Logits and endpoints."""
    logits, state = apply(small(), mutable=["endpoints"])(variables, IMAGES)
    return logits, state["endpoints"]


@pytest.mark.parametrize(
    ("name", "options", "size", "parameters"),
    [
        ("vit_b16", {"pool": "gap"}, 224, 86_566_120),
        ("vit_b16", {"representation_size": 768}, 224, 87_158_248),
        ("vit_b16", {}, 384, 86_859_496),
        # The norm before the blocks replaces the bias of the embedding. Each of the four registers
        # has a position. Each of the 12 blocks has two layer scales.
        slow("vit_ti16", {"pre_norm": True}, 224, 5_717_416 - 192 + 2 * 192),
        slow("vit_ti16", {"register_tokens": 4}, 224, 5_717_416 + 2 * 4 * 192),
        slow("vit_ti16", {"patch_positions_only": True}, 224, 5_717_416 - 192),
        slow("vit_ti16", {"layer_scale": 1e-5}, 224, 5_717_416 + 2 * 12 * 192),
        slow("vit_ti16", {"norm_after_pool": True}, 224, 5_717_416),
        ("vit_ti16", {"num_classes": 0}, 224, 5_717_416 - 193_000),
    ],
)
def test_sizes_of_the_options(name, options, size, parameters):
    """Class token, hidden layer and image size change the number of parameters as expected."""
    tree = shapes(create_model(name, **options), jnp.zeros((1, size, size, 3)))
    assert set(tree) == {"params"}
    assert sum(leaf.size for leaf in jax.tree.leaves(tree)) == parameters


def test_shape_contract_of_the_docstring():
    """ViT-B/16 at 224 pixels: 14 * 14 patches and the class token."""
    model, x = create_model("vit_b16"), jnp.zeros((2, 224, 224, 3))
    logits, state = jax.eval_shape(
        lambda v: model.apply(v, x, train=False, mutable=["endpoints"]), shapes(model, x)
    )
    found = {name: leaf.shape for name, leaf in state["endpoints"].items()}
    expected = {"stem": (2, 14, 14, 768), "encoder": (2, 197, 768), "pre_logits": (2, 768)}
    for block in range(1, 13):
        for part in ("", "/attention", "/mlp"):
            expected[f"encoder/block{block}{part}"] = (2, 197, 768)
        expected[f"encoder/block{block}/attention_weights"] = (2, 12, 197, 197)
    assert found == expected
    assert logits.shape == (2, 1000)


@pytest.mark.parametrize(("size", "patch"), [((30, 32), 16), ((16, 12), 8)])
def test_sides_have_to_be_multiples_of_the_patch(size, patch):
    """Images that patches do not divide are an error."""
    model = small(variant=SMALL._replace(patch=patch))
    with pytest.raises(UserError, match=rf"{size[0]}x{size[1]} pixels.*multiples of {patch}"):
        shapes(model, jnp.zeros((1, *size, 3)))


def test_unknown_pooling_is_an_error():
    """A misspelt option lists the valid ones."""
    with pytest.raises(UserError, match="pool is 'avg'; expected one of token, gap"):
        shapes(small(pool="avg"))


def test_other_image_size_names_the_remedy(variables):
    """A position embedding of another image size is an error with advice."""
    with pytest.raises(UserError, match=r"2x2 tokens.*\(1, 5, 32\).*resize_position_embedding"):
        small().apply(variables, IMAGES[:, :, :16], train=False)


@pytest.mark.slow
def test_initialisation_is_the_authors():
    """Initial values are those of the authors: zero logits, uniform kernels."""
    wide = small(variant=SMALL._replace(width=96, mlp_dim=384, depth=2))
    params = jax.jit(lambda key: wide.init(key, IMAGES, train=False))(jax.random.key(0))["params"]
    for zero in (params["class_token"], params["logits"], params["embedding"]["bias"]):
        assert not any(leaf.any() for leaf in jax.tree.leaves(zero))
    np.testing.assert_allclose(params["position_embedding"].std(), 0.02, rtol=0.1)
    assert params["position_embedding"][0, 0].any()  # the class token's place, too
    np.testing.assert_allclose(params["embedding"]["kernel"].std(), (8 * 8 * 3) ** -0.5, rtol=0.05)
    blocks = params["encoder"]["blocks"]
    for name in ("query", "key", "value", "out"):
        kernel = blocks["attention"][name]["kernel"]
        limit = (6 / (96 + 96)) ** 0.5  # Glorot and Bengio 2010, separately for every layer
        assert 0.98 * limit < abs(kernel).max() <= limit
        assert not blocks["attention"][name]["bias"].any()
    for name in ("expand", "project"):
        np.testing.assert_allclose(blocks["mlp"][name]["bias"].std(), 1e-6, rtol=0.1)
        assert abs(blocks["mlp"][name]["kernel"]).max() <= (6 / (96 + 384)) ** 0.5
    first, second = blocks["mlp"]["expand"]["kernel"]
    assert not np.allclose(first, second)  # blocks have different values


def test_blocks_follow_each_other_and_have_endpoints(variables, evaluated):
    """The scan equals sequential blocks with residuals (equations 2 and 3)."""
    block = EncoderBlock(**small().block(), train=False, details=False)
    run = jax.jit(lambda params, x: block.apply({"params": params}, x, None, {})[0])
    params, (_, endpoints) = variables["params"], evaluated
    x = endpoints["stem"].reshape(4, -1, SMALL.width)
    token = jnp.broadcast_to(params["class_token"], (4, 1, SMALL.width))
    x = jnp.concatenate([token, x], 1) + params["position_embedding"]
    for index in range(SMALL.depth):
        y = run(jax.tree.map(lambda leaf, i=index: leaf[i], params["encoder"]["blocks"]), x)
        name = f"encoder/block{index + 1}"
        np.testing.assert_allclose(endpoints[name], y, rtol=1e-5, atol=1e-5)
        branches = endpoints[f"{name}/attention"] + endpoints[f"{name}/mlp"]
        np.testing.assert_allclose(y - x, branches, rtol=1e-4, atol=1e-4)
        x = y
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    norm = params["encoder"]["norm"]
    expected = (x - mean) / np.sqrt(var + 1e-6) * norm["scale"] + norm["bias"]
    np.testing.assert_allclose(endpoints["encoder"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(endpoints["pre_logits"], endpoints["encoder"][:, 0])


def test_asking_for_endpoints_changes_nothing(variables, evaluated):
    """Endpoints do not change logits, and images are independent."""
    logits = apply(small())(variables, IMAGES)
    np.testing.assert_allclose(logits, evaluated[0], rtol=1e-5, atol=1e-5)
    mixed = apply(small())(variables, IMAGES.at[1:].set(0))
    np.testing.assert_allclose(logits[0], mixed[0], rtol=1e-5, atol=1e-5)
    assert not np.allclose(logits[1], mixed[1], rtol=1e-2)


def test_average_pooling_and_hidden_layer():
    """Without a class token, all tokens are averaged; tanh follows the hidden layer."""
    model = small(pool="gap", representation_size=6, num_classes=0)
    variables = draw(model)
    assert "class_token" not in variables["params"] and "logits" not in variables["params"]
    features, state = apply(model, mutable=["endpoints"])(variables, IMAGES)
    tokens, dense = state["endpoints"]["encoder"], variables["params"]["pre_logits"]
    assert tokens.shape == (4, TOKENS - 1, SMALL.width)
    expected = np.tanh(tokens.mean(1) @ dense["kernel"] + dense["bias"])
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_registers_and_their_positions():
    """Registers follow the class token and are not averaged; an option omits their positions."""
    options = {"register_tokens": 2, "patch_positions_only": True, "pool": "patches"}
    model = small(**options, num_classes=0)
    variables = draw(model)
    params = variables["params"]
    assert params["position_embedding"].shape == (1, TOKENS - 1, SMALL.width)
    features, state = apply(model, mutable=["endpoints"])(variables, IMAGES)
    tokens = state["endpoints"]["encoder"]
    assert tokens.shape == (4, TOKENS + 2, SMALL.width)
    np.testing.assert_allclose(features, tokens[:, 3:].mean(1), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_layer_scale_multiplies_the_branches():
    """Blocks with factors of 0 return their input; the option sets the initial factors."""
    model = small(layer_scale=0.5)
    params = jax.jit(lambda key: model.init(key, IMAGES, train=False))(jax.random.key(0))["params"]
    blocks = dict(params["encoder"]["blocks"])
    for name in ("attention_scale", "mlp_scale"):
        np.testing.assert_array_equal(blocks[name]["scale"], np.full((3, SMALL.width), 0.5))
        blocks[name] = {"scale": jnp.zeros((3, SMALL.width))}
    frozen = {**params, "encoder": {**params["encoder"], "blocks": blocks}}
    _, state = apply(model, mutable=["endpoints"])({"params": frozen}, IMAGES)
    outputs = [state["endpoints"][f"encoder/block{block}"] for block in (1, 3)]
    np.testing.assert_array_equal(*outputs)


def test_patches_are_projected_like_a_convolution(variables, evaluated):
    """The patch embedding equals a convolution with the same parameters."""
    embedding = variables["params"]["embedding"]
    expected = jax.lax.conv_general_dilated(
        IMAGES, embedding["kernel"], (8, 8), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(
        evaluated[1]["stem"], expected + embedding["bias"], rtol=1e-4, atol=1e-5
    )


def test_depth_costs_no_compilation():
    """The native program does not grow with the depth."""

    def operations(depth):
        model = small(variant=SMALL._replace(depth=depth), drop_path_rate=0.1)
        trained = jax.jit(
            jax.grad(lambda v, key: model.apply(v, IMAGES, train=True, rngs={"dropout": key}).sum())
        )
        with kernels.use_backend("native"):
            return trained.lower(shapes(model), jax.random.key(0)).as_text().count("\n")

    assert operations(12) == operations(4)


def test_bfloat16_has_float32_logits(variables, evaluated):
    """Blocks compute in `dtype`; parameters, statistics of norms and the head are float32."""
    logits, state = apply(small(dtype=jnp.bfloat16), mutable=["endpoints"])(variables, IMAGES)
    assert state["endpoints"]["encoder/block2"].dtype == jnp.bfloat16
    assert state["endpoints"]["pre_logits"].dtype == logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, evaluated[0], atol=0.1 * np.abs(evaluated[0]).max())


@pytest.fixture(scope="module")
def trained(variables):
    """Return training logits, and the gradient of their weighted sum."""
    model = small(dropout_rate=0.1, drop_path_rate=0.2)
    weights = jax.random.normal(jax.random.key(2), (4, 5))

    def loss(params, key):
        logits = model.apply({"params": params}, IMAGES, train=True, rngs={"dropout": key})
        return (weights * logits).sum(), logits

    run = jax.jit(jax.grad(loss, has_aux=True))
    return lambda seed: run(variables["params"], jax.random.key(seed))


@pytest.mark.slow  # tests/parity compares the gradient of every parameter
def test_every_parameter_learns(trained):
    """Every layer has nonzero gradients."""
    gradients, logits = trained(0)
    chex.assert_tree_all_finite((gradients, logits))
    for name, leaf in flax.traverse_util.flatten_dict(gradients, sep="/").items():
        layers = leaf if name.startswith("encoder/blocks/") else leaf[None]
        for layer in layers:
            assert (np.abs(layer).max() > 1e-5) == (name not in WITHOUT_GRADIENT), name


@pytest.mark.slow
def test_randomness_follows_its_key(trained, variables):
    """Training depends only on the key, and fails without it."""
    first, same, other = (trained(seed)[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.allclose(first, other)
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        jax.eval_shape(lambda: small().apply(variables, IMAGES, train=True))


def encoder_steps(batch, layers, dropout_rate=0.0, drop_path_rate=0.0):
    """Train a stack in which every branch gives 0, except that the bias of `layers` is 1.

    Returns:
      What each block added to the tokens, `[depth, batch, length, width]`.
    """
    variant = Variant(width=4, depth=3, mlp_dim=4, heads=1, patch=1)
    encoder = Encoder(3, ViT(variant, dropout_rate=dropout_rate).block(), drop_path_rate)
    x = jnp.zeros((batch, 3, 4))
    tree = jax.eval_shape(lambda key: encoder.init(key, x, {}, train=False), jax.random.key(0))
    tree = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), tree)
    branch, layer = layers
    dense = tree["params"]["blocks"][branch][layer]
    dense["bias"] = jnp.ones_like(dense["bias"])
    run = jax.jit(lambda key: encoder.apply(
        tree, x, {}, train=True, rngs={"dropout": key}, mutable=["endpoints"])[0][1])  # fmt: skip
    outputs = run(jax.random.key(0))
    return np.diff([x, *outputs[""]], axis=0)


BRANCHES = pytest.mark.parametrize("layers", [("attention", "out"), ("mlp", "project")])


@BRANCHES
def test_stochastic_depth_grows_with_depth(layers):
    """Drop path drops branches of examples at rates 0, r / 2, r, and keeps the mean."""
    added = encoder_steps(2000, layers, drop_path_rate=0.6)
    assert (added == added[:, :, :1, :1]).all()
    for step, rate in zip(added[:, :, 0, 0], (0.0, 0.3, 0.6), strict=True):
        np.testing.assert_allclose(step[step != 0], 1 / (1 - rate), rtol=1e-6)
        np.testing.assert_allclose((step == 0).mean(), rate, atol=0.04)
    dropped = added[1:, :, 0, 0] == 0
    np.testing.assert_allclose(dropped.all(0).mean(), 0.3 * 0.6, atol=0.03)  # independent


@BRANCHES
def test_every_block_drops_by_its_own_mask(layers):
    """Each scanned block has its own mask, in both branches."""
    added = encoder_steps(200, layers, dropout_rate=0.5)
    assert set(np.unique(added)) == {0.0, 2.0}
    same = (added[0] == added[1]).mean()
    np.testing.assert_allclose(same, 0.5, atol=0.05)


def test_options_arrive_in_every_layer():
    """Epsilon and GELU reach every layer; attention weights have no dropout."""
    seen = set()

    def note(next_call, args, kwargs, context):
        layer = context.module
        if isinstance(layer, nn.LayerNorm):
            seen.add(("norm", layer.epsilon, layer.dtype))
        if isinstance(layer, MultiHeadAttention):
            seen.add(("attention", layer.dropout_rate, layer.dtype))
        if isinstance(layer, Mlp):
            seen.add(("mlp", layer.dropout_rate, layer.activation.keywords["approximate"]))
        if isinstance(layer, EncoderBlock):
            seen.add(("block", layer.dropout_rate))
        return next_call(*args, **kwargs)

    options = {"norm_epsilon": 1e-5, "gelu_approximate": True, "dtype": jnp.bfloat16}
    with nn.intercept_methods(note):
        shapes(small(dropout_rate=0.3, **options))
    assert seen == {
        ("norm", 1e-5, jnp.bfloat16),
        ("attention", 0.0, jnp.bfloat16),
        ("mlp", 0.3, True),
        ("block", 0.3),
    }


@pytest.mark.parametrize(("old", "new"), [(4, 6), (7, 3), (5, 5), (3, 1), (1, 2)])
@pytest.mark.parametrize("has_class_token", [True, False])
def test_resizing_is_the_authors_zoom(old, new, has_class_token):
    """Resizing equals SciPy's zoom of order 1, as in the published code."""
    embedding = np.random.default_rng(0).normal(size=(1, old * old + has_class_token, 6))
    embedding = embedding.astype(np.float32)
    resized = resize_position_embedding(embedding, (new, new), has_class_token)
    assert (resized.shape, resized.dtype) == ((1, new * new + has_class_token, 6), np.float32)
    token, grid = np.split(embedding[0], [int(has_class_token)])
    zoom = (new / old, new / old, 1)
    expected = scipy.ndimage.zoom(grid.reshape(old, old, 6), zoom, order=1).reshape(-1, 6)
    np.testing.assert_array_equal(resized[0, : len(token)], token)
    np.testing.assert_allclose(resized[0, len(token) :], expected, rtol=1e-5, atol=1e-6)


def test_resizing_keeps_rows_and_columns_apart():
    """A linear ramp stays linear on a wide grid."""
    rows, columns = np.meshgrid(np.arange(3.0), np.arange(3.0), indexing="ij")
    embedding = np.stack([rows, columns], -1).reshape(1, 9, 2)
    resized = resize_position_embedding(embedding, (2, 5), False).reshape(2, 5, 2)
    np.testing.assert_allclose(resized[:, 0, 0], [0, 2])
    np.testing.assert_allclose(resized[0, :, 1], [0, 0.5, 1, 1.5, 2])


def test_resized_embedding_is_that_of_the_other_size(variables):
    """A resized network runs on images of another size."""
    square = shapes(small(), IMAGES[:, :, :16])["params"]["position_embedding"]
    resized = resize_position_embedding(np.zeros(square.shape), (2, 3), True)
    chex.assert_trees_all_equal_shapes(resized, variables["params"]["position_embedding"])


def test_only_square_grids_are_resized():
    """Positions that do not form a square are an error."""
    with pytest.raises(UserError, match="17 patches"):
        resize_position_embedding(np.zeros((1, 17, 4)), (3, 3), False)
