"""ResNet.

Shapes, both positions of the stride, and options. `tests/parity` compares values with torchvision.
"""

import functools

import chex
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.models import create_model
from netzoo.models.resnet import ResNet, Variant

# One block per stage, with both kinds of shortcuts.
TINY = Variant((1, 1, 1, 1), True, groups=2, group_width=32)


def shapes(model, size=64, **options):
    """Return logits and endpoints as shapes, and the variables."""
    images = jnp.zeros((2, size, size, 3))

    def forward(key):
        variables = model.init(key, images, train=False)
        return variables, model.apply(variables, images, mutable=["endpoints"], **options)

    variables, (logits, state) = jax.eval_shape(forward, jax.random.key(0))
    return variables, logits, state["endpoints"]


@pytest.fixture(scope="module")
def variables():
    """Initial variables of the tiny network with five classes."""
    model, images = ResNet(variant=TINY, num_classes=5), jnp.zeros((1, 32, 32, 3))
    return jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), images)


def test_shape_contract_of_the_docstring():
    """Table 1 of the paper at 224 pixels, for ResNet-50."""
    _, logits, found = shapes(create_model("resnet50"), 224, train=False)
    expected = {"stem": (2, 56, 56, 64), "pre_logits": (2, 2048)}
    for stage, (depth, side, channels) in enumerate(
        [(3, 56, 256), (4, 28, 512), (6, 14, 1024), (3, 7, 2048)], start=1
    ):
        for block in range(1, depth + 1):
            expected[f"stage{stage}/block{block}"] = (2, side, side, channels)
    assert {name: x.shape for name, x in found.items()} == expected
    assert (logits.shape, logits.dtype) == ((2, 1000), jnp.float32)


@pytest.mark.parametrize(("in_first", "sides"), [(True, (8, 8, 8)), (False, (16, 8, 8))])
def test_stride_is_in_the_3x3_unless_asked_otherwise(in_first, sides):
    """v1.5 and v1 have the same parameters but different strides."""
    model = ResNet(variant=TINY, num_classes=5, stride_in_first=in_first)
    images = jnp.zeros((1, 64, 64, 3))

    def forward(key):
        return model.init_with_output(
            key, images, train=False, capture_intermediates=True, mutable=True
        )

    _, tree = jax.eval_shape(forward, jax.random.key(0))
    block = tree["intermediates"]["stage2_block1"]
    assert tuple(block[f"conv{i}"]["__call__"][0].shape[1] for i in (1, 2, 3)) == sides


@pytest.mark.slow
def test_zero_init_starts_every_branch_at_nothing():
    """With the option, only the last norm of a block starts at 0 (Goyal et al.)."""
    images = jnp.zeros((1, 32, 32, 3))
    model = ResNet(variant=TINY, num_classes=5, zero_init_last_norm=True)
    init = jax.jit(lambda key: model.init(key, images, train=False))
    scales = {
        "/".join(path[:-1]): np.asarray(value)
        for path, value in flax.traverse_util.flatten_dict(
            init(jax.random.key(0))["params"]
        ).items()
        if path[-1] == "scale"
    }
    for name, scale in scales.items():
        np.testing.assert_array_equal(scale, 0.0 if name.endswith("/norm3") else 1.0)
    assert sum(name.endswith("/norm3") for name in scales) == 4


@pytest.mark.slow
def test_endpoints_change_nothing(variables):
    """Requesting endpoints does not change the logits or their type."""
    model = ResNet(variant=TINY, num_classes=5)
    images = jax.random.normal(jax.random.key(1), (2, 40, 48, 3))
    plain = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images)
    asked, state = jax.jit(lambda v, x: model.apply(v, x, train=False, mutable=["endpoints"]))(
        variables, images
    )
    np.testing.assert_array_equal(plain, asked)
    features = ResNet(variant=TINY, num_classes=0)
    without = {**variables, "params": {k: v for k, v in variables["params"].items()
                                       if k != "logits"}}  # fmt: skip
    pooled = jax.jit(lambda v, x: features.apply(v, x, train=False))(without, images)
    np.testing.assert_array_equal(pooled, state["endpoints"]["pre_logits"])


@pytest.mark.slow  # tests/parity compares the gradient of every parameter
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_training_reaches_every_parameter(variables, dtype):
    """All gradients are finite and nonzero, and all statistics change."""
    model = ResNet(variant=TINY, num_classes=5, drop_path_rate=0.1, dropout_rate=0.1, dtype=dtype)
    images = jax.random.normal(jax.random.key(1), (4, 64, 64, 3))

    def loss(params):
        logits, state = model.apply(
            {**variables, "params": params},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(2)},
        )
        assert logits.dtype == jnp.float32
        return (logits * jnp.arange(5)).sum(), state

    gradients, state = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    chex.assert_tree_all_finite(gradients)
    none = [path for path, g in flax.traverse_util.flatten_dict(gradients).items() if not g.any()]
    assert none == []
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), state["batch_stats"],
                         variables["batch_stats"])  # fmt: skip
    assert all(jax.tree.leaves(moved))


def test_too_small_image():
    """Tracing raises an error for images that are too small, with the minimum size."""
    with pytest.raises(UserError, match=r"16x40 pixels.*at least 32x32"):
        jax.eval_shape(
            lambda k: create_model("resnet18").init(k, jnp.zeros((1, 16, 40, 3)), train=False),
            jax.random.key(0),
        )
