"""MobileNetV2: published sizes, shapes and details."""

import functools

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
from netzoo.models.blocks import ConvNormAct, InvertedResidual, scale_channels
from netzoo.models.mobilenet_v2 import STAGES, STEM_CHANNELS
from tests.conftest import fast_only, slow

# By width: parameters with 1000 and 5 classes, running statistics, and channels of the head.
SIZES = {
    0.35: (1_677_128, 402_533, 14_080, 1280),
    0.5: (1_968_680, 694_085, 18_544, 1280),
    0.75: (2_636_424, 1_361_829, 26_640, 1280),
    1.0: (3_504_872, 2_230_277, 34_112, 1280),
    1.3: (5_386_792, 3_730_117, 44_256, 1664),
    1.4: (6_108_776, 4_324_741, 47_936, 1792),
}
# Channels of the stem and stages 1 to 7, rounded as in the authors' code.
CHANNELS = {
    0.35: (16, 8, 8, 16, 24, 32, 56, 112),
    0.5: (16, 8, 16, 16, 32, 48, 80, 160),
    0.75: (24, 16, 24, 24, 48, 72, 120, 240),
    1.0: (32, 16, 24, 32, 64, 96, 160, 320),
    1.3: (40, 24, 32, 40, 80, 128, 208, 416),
    1.4: (48, 24, 32, 48, 88, 136, 224, 448),
}


def small(**options):
    """The narrowest published network, with five classes."""
    return create_model("mobilenet_v2", num_classes=5, width_multiplier=0.35, **options)


def shapes(model, size=32, method="init", **options):
    """Return what `init` would, as shapes."""
    images = jnp.zeros((2, size, size, 3))
    return jax.eval_shape(
        lambda key: getattr(model, method)(key, images, train=False, **options), jax.random.key(0)
    )


def run(model, *, train=False, **options):
    """Return the compiled forward pass, `run(...)(variables, images, key)`."""

    def apply(variables, images, key):
        rngs = {"dropout": key} if train else None
        return model.apply(variables, images, train=train, rngs=rngs, **options)

    return jax.jit(apply)


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(1), (4, 32, 32, 3))


@pytest.fixture(scope="module")
def variables(train):
    """Random variables with the running statistics of another batch.

    With the initial statistics the signal fades, and all images have the same logits.
    """
    rng = np.random.default_rng(0)
    params = flax.traverse_util.flatten_dict(shapes(small())["params"])
    for path, leaf in params.items():
        fan = np.prod(leaf.shape[:-1])
        drawn = rng.normal(size=leaf.shape) * np.sqrt(2 / fan)
        value = {"kernel": drawn, "scale": np.ones(leaf.shape), "bias": np.zeros(leaf.shape)}
        params[path] = jnp.asarray(value[path[-1]], jnp.float32)
    tree = {"params": flax.traverse_util.unflatten_dict(params)}
    stats = {
        "batch_stats": jax.tree.map(lambda s: jnp.zeros(s.shape), shapes(small())["batch_stats"])
    }
    batch = jax.random.normal(jax.random.key(2), (4, 32, 32, 3))
    for _ in range(60):  # 0.9 ** 60 is 0.002
        _, stats = train({**tree, **stats}, batch, jax.random.key(0))
    return {**tree, **stats}


@pytest.fixture(scope="module")
def evaluate():
    """Evaluate; return logits, every layer's output, and the statistics."""
    return run(small(), capture_intermediates=True, mutable=["intermediates", "batch_stats"])


@pytest.fixture(scope="module")
def train():
    """Train; return logits and new statistics."""
    return run(small(), train=True, mutable=["batch_stats"])


@pytest.mark.parametrize("width", fast_only(SIZES, [0.35, 1.0]))
def test_exact_size(width):
    """Every published width has exactly the published parameters."""
    thousand, five, statistics, head = SIZES[width]
    for classes, expected in ((1000, thousand), (5, five)):
        model = create_model("mobilenet_v2", num_classes=classes, width_multiplier=width)
        tree = shapes(model)
        assert sum(p.size for p in jax.tree.leaves(tree["params"])) == expected
        assert sum(s.size for s in jax.tree.leaves(tree["batch_stats"])) == statistics
        assert tree["params"]["head"]["kernel"].shape[-1] == head


@pytest.mark.parametrize("width", CHANNELS)
def test_channels_are_rounded_as_the_authors_do(width):
    """Channels are multiples of 8 and at least 90 % of the product."""
    wanted = (STEM_CHANNELS, *(stage.channels for stage in STAGES))
    assert tuple(scale_channels(c, width) for c in wanted) == CHANNELS[width]


def test_shape_contract_of_the_docstring():
    """Table 2 of the paper at 224 pixels, stage by stage."""
    images = jnp.zeros((2, 224, 224, 3))
    model = create_model("mobilenet_v2")

    def forward(key):
        return model.init_with_output(
            key, images, train=False, capture_intermediates=True, mutable=True
        )

    logits, tree = jax.eval_shape(forward, jax.random.key(0))
    seen = {name: out["__call__"][0].shape for name, out in tree["intermediates"].items()
            if name != "__call__"}  # fmt: skip
    assert seen["stem"] == (2, 112, 112, 32)
    sides = (112, 56, 28, 14, 14, 7, 7)
    for index, (stage, side) in enumerate(zip(STAGES, sides, strict=True), start=1):
        for block in range(1, stage.blocks + 1):
            assert seen[f"stage{index}_block{block}"] == (2, side, side, stage.channels)
        assert f"stage{index}_block{stage.blocks + 1}" not in seen
    assert seen["head"] == (2, 7, 7, 1280)
    assert logits.shape == (2, 1000)


@pytest.mark.parametrize("dtype", [slow(jnp.float32), jnp.bfloat16])
@pytest.mark.parametrize("train", [slow(True), False])
def test_logits_are_float32(dtype, train):
    """Logits are float32, and all other outputs have `dtype`."""
    model, x = small(dtype=dtype), jnp.zeros((3, 40, 48, 3))

    def forward(key):
        tree = model.init(key, x, train=False)
        rngs = {"dropout": key}
        return tree, model.apply(
            tree, x, train=train, rngs=rngs, capture_intermediates=True, mutable=True
        )

    tree, (logits, state) = jax.eval_shape(forward, jax.random.key(0))
    assert (logits.shape, logits.dtype) == ((3, 5), jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype("float32")}
    assert {leaf.dtype for leaf in jax.tree.leaves(state["batch_stats"])} == {jnp.dtype("float32")}
    assert state["intermediates"]["head_norm"]["__call__"][0].dtype == dtype


def test_without_classes_it_gives_features():
    """`num_classes=0` returns the pooled features and has no parameters for logits."""
    model = create_model("mobilenet_v2", num_classes=0, width_multiplier=0.35)
    features, tree = shapes(model, method="init_with_output")
    assert (features.shape, features.dtype) == ((2, 1280), jnp.float32)
    assert "logits" not in tree["params"]


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (8, 8)])
def test_too_small_image_is_an_error_before_compilation(size):
    """Tracing raises an error for images that are too small, with the minimum size."""
    with pytest.raises(UserError, match=rf"{size[0]}x{size[1]}.*at least 32x32"):
        jax.eval_shape(
            lambda key: small().init(key, jnp.zeros((1, *size, 3)), train=False),
            jax.random.key(0),
        )


def test_linear_bottlenecks_and_residuals(evaluate, variables, images):
    """Only a residual follows the projection, if the shapes allow it.

    An activation after the projection (section 3.2) would train some points worse without changing
    counts or shapes.
    """
    _, state = evaluate(variables, images, jax.random.key(0))
    tree = state["intermediates"]

    def output(*path):
        return np.asarray(flax.traverse_util.flatten_dict(tree)[*path, "__call__"][0])

    x = np.clip(output("stem_norm"), 0, 6)
    residuals = []
    for index, stage in enumerate(STAGES, start=1):
        for block in range(1, stage.blocks + 1):
            name = f"stage{index}_block{block}"
            projected, y = output(name, "project_norm"), output(name)
            assert (projected < 0).mean() > 0.1
            if block > 1:
                np.testing.assert_allclose(y, x + projected, rtol=1e-5, atol=1e-5)
                residuals.append(name)
            else:
                np.testing.assert_array_equal(y, projected)
            x = y
    assert len(residuals) == 10


def test_a_first_block_of_equal_channels_has_a_residual():
    """A residual needs stride 1 and equal channels.

    At width 0.35, stages 1 and 2 have 8 channels, but stage 2 begins with stride 2.
    """
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 8))
    conv_norm_act = ConvNormAct(Conv, BatchNorm, nn.relu6)
    for stride, features, residual in [(1, 8, True), (2, 8, False), (1, 16, False)]:
        block = InvertedResidual(conv_norm_act, features, 1, stride=stride)
        tree = jax.eval_shape(functools.partial(block.init, train=False), jax.random.key(1), x)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), tree)
        y = jax.jit(functools.partial(block.apply, train=False))(zeros, x)
        np.testing.assert_array_equal(y, x if residual else jnp.zeros_like(y))


def test_no_expansion_in_the_first_block(variables):
    """A block with t = 1 has no expansion; all others expand six times."""
    for name, block in variables["params"].items():
        if name.startswith("stage"):
            assert ("expand" in block) == ("expand_norm" in block) == (name != "stage1_block1")
            if "expand" in block:
                _, _, narrow, wide = block["expand"]["kernel"].shape
                assert wide == 6 * narrow


def test_only_logits_have_a_bias_beside_batchnorm(variables):
    """Convolutions before BatchNorm have no bias."""
    biased = [
        path
        for path in flax.traverse_util.flatten_dict(variables["params"])
        if path[-1] == "bias" and not path[-2].endswith("norm")
    ]
    assert biased == [("logits", "bias")]


def test_evaluation_is_repeatable_and_changes_nothing(evaluate, variables, images):
    """Evaluation is deterministic and does not update statistics, even if mutable."""
    first, state = evaluate(variables, images, jax.random.key(0))
    second, _ = evaluate(variables, images, jax.random.key(1))
    np.testing.assert_array_equal(first, second)
    chex.assert_trees_all_equal(state["batch_stats"], variables["batch_stats"])
    # One image at a time, to check that running statistics are used.
    mixed = evaluate(variables, images.at[1:].set(0), jax.random.key(0))[0]
    np.testing.assert_allclose(first[0], mixed[0], rtol=1e-5, atol=1e-6)
    assert not np.allclose(first[1], mixed[1], rtol=1e-3)


def test_training_moves_every_statistic(train, variables, images):
    """`train=True` updates the running statistics of every layer."""
    _, state = train(variables, images, jax.random.key(0))
    chex.assert_trees_all_equal_shapes_and_dtypes(state["batch_stats"], variables["batch_stats"])
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), state, {
        "batch_stats": variables["batch_stats"]})  # fmt: skip
    assert all(jax.tree.leaves(moved))


def test_dropout_follows_its_key(train, variables, images):
    """Dropout acts only in training and depends only on the key."""
    first, same, other = (train(variables, images, jax.random.key(k))[0] for k in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.allclose(first, other)


def test_dropout_needs_a_key_only_in_training(variables, images):
    """Evaluation needs no key; training without a key is an error."""

    def forward(train):
        return lambda: small().apply(variables, images, train=train, mutable=["batch_stats"])

    jax.eval_shape(forward(False))
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        jax.eval_shape(forward(True))


def test_padding_conventions_differ_in_value_only(evaluate, variables, images):
    """Both padding conventions have the same parameters but different logits."""
    torch, _ = evaluate(variables, images, jax.random.key(0))
    same = run(small(padding="same"))(variables, images, jax.random.key(0))
    chex.assert_trees_all_equal_shapes_and_dtypes(torch, same)
    assert not np.allclose(torch, same, rtol=1e-3)
    chex.assert_trees_all_equal_shapes_and_dtypes(shapes(small()), shapes(small(padding="same")))
