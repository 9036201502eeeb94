"""MobileNetV3: published shapes and details."""

import functools
import re

import chex
import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from netzoo.layers import BatchNorm, Conv, SqueezeExcite
from netzoo.models import create_model
from netzoo.models.blocks import ConvNormAct, InvertedResidual
from netzoo.weights.families import layouts
from netzoo.weights.state_dict import to_tensors, to_variables
from tests.models.drawn import drawn

# Expanded channels, kernel size, output channels, SE, hard-swish and stride of every block: Tables
# 1 and 2 of the paper row by row.
TABLES = {
    "large": (
        (16, 3, 16, False, False, 1), (64, 3, 24, False, False, 2), (72, 3, 24, False, False, 1),
        (72, 5, 40, True, False, 2), (120, 5, 40, True, False, 1), (120, 5, 40, True, False, 1),
        (240, 3, 80, False, True, 2), (200, 3, 80, False, True, 1), (184, 3, 80, False, True, 1),
        (184, 3, 80, False, True, 1), (480, 3, 112, True, True, 1), (672, 3, 112, True, True, 1),
        (672, 5, 160, True, True, 2), (960, 5, 160, True, True, 1), (960, 5, 160, True, True, 1),
    ),
    "small": (
        (16, 3, 16, True, False, 2), (72, 3, 24, False, False, 2), (88, 3, 24, False, False, 1),
        (96, 5, 40, True, True, 2), (240, 5, 40, True, True, 1), (240, 5, 40, True, True, 1),
        (120, 5, 48, True, True, 1), (144, 5, 48, True, True, 1), (288, 5, 96, True, True, 2),
        (576, 5, 96, True, True, 1), (576, 5, 96, True, True, 1),
    ),
}  # fmt: skip
ENDS = {"large": (960, 1280), "small": (576, 1024)}
# Channels of the squeeze by expanded channels: a quarter, rounded to a multiple of 8.
SQUEEZES = {16: 8, 72: 24, 96: 24, 120: 32, 144: 40, 240: 64, 288: 72, 480: 120, 576: 144,
            672: 168, 960: 240}  # fmt: skip


def small(**options):
    """A narrow network with five classes."""
    return create_model("mobilenet_v3_small", num_classes=5, width_multiplier=0.35, **options)


def shapes(model, size=32, method="init"):
    """Return what `init` would, as shapes."""
    images = jnp.zeros((2, size, size, 3))
    return jax.eval_shape(
        lambda key: getattr(model, method)(key, images, train=False), jax.random.key(0)
    )


def blocks(tree):
    """Return the entries of the blocks in their order."""
    return [tree[name] for name in sorted(tree) if name.startswith("stage")]


@pytest.fixture(scope="module")
def variables():
    return drawn(shapes(small()))


@pytest.mark.parametrize("minimalistic", [False, True])
@pytest.mark.parametrize("name", TABLES)
def test_shape_contract_of_the_docstring(name, minimalistic):
    """Names, shapes and activations are those of the paper's table at 224 pixels.

    Minimalistic networks differ only in kernel sizes, squeeze-excite and activations.
    """
    x = jnp.zeros((2, 224, 224, 3))
    model = create_model(f"mobilenet_v3_{name}", minimalistic=minimalistic)
    activations = []

    def note(next_call, args, kwargs, context):
        if isinstance(context.module, InvertedResidual) and context.method_name == "__call__":
            activations.append(context.module.conv_norm_act.activation)
        return next_call(*args, **kwargs)

    def forward(key):
        variables = model.init(key, x, train=False)
        with nn.intercept_methods(note):
            output = model.apply(variables, x, train=False, mutable=["endpoints"])
        return variables["params"], output

    params, (logits, state) = jax.eval_shape(forward, jax.random.key(0))
    head, wide = ENDS[name]
    endpoints = {name: leaf.shape for name, leaf in state["endpoints"].items()}
    assert endpoints.pop("stem") == (2, 112, 112, 16)
    assert endpoints.pop("head") == (2, 7, 7, head)
    assert endpoints.pop("pre_logits") == (2, wide)
    assert logits.shape == (2, 1000)
    side = 112
    rows = zip(TABLES[name], blocks(endpoints), blocks(params), activations, strict=True)
    for (expanded, kernel, channels, gated, swish, stride), shape, block, activation in rows:
        side //= stride
        assert shape == (2, side, side, channels)
        taps = 3 if minimalistic else kernel
        assert block["depthwise"]["kernel"].shape == (taps, taps, 1, expanded)
        assert ("squeeze_excite" in block) == (gated and not minimalistic)
        assert activation is (nn.hard_swish if swish and not minimalistic else nn.relu)
        if "squeeze_excite" in block:
            shape = block["squeeze_excite"]["reduce"]["kernel"].shape
            assert shape == (expanded, SQUEEZES[expanded])
    assert ("expand" in blocks(params)[0], "expand" in blocks(params)[1]) == (False, True)


def test_what_the_width_multiplier_scales():
    """Narrow networks scale channels but not the stem and `pre_logits`.

    The second number is the size of timm's `mobilenetv3_small_050`.
    """
    params = shapes(create_model("mobilenet_v3_large_075"))["params"]
    widths = [block["depthwise"]["kernel"].shape[-1] for block in blocks(params)]
    assert widths == [16, 64, 72, 72, 96, 96, 192, 160, 144, 144, 384, 528, 528, 720, 720]
    ends = [params[name]["kernel"].shape[-1] for name in ("stem", "head", "pre_logits")]
    assert ends == [16, 720, 1280]
    params = shapes(create_model("mobilenet_v3_small", width_multiplier=0.5))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 1_593_224
    params = shapes(create_model("mobilenet_v3_small", width_multiplier=1.25))["params"]
    assert params["pre_logits"]["kernel"].shape == (720, 1280)


def test_block_order():
    """Activations follow the expansion and the depthwise convolution, before the gate.

    The projection is linear, and a residual needs stride 1 and equal channels.
    """
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 8))
    conv_norm_act = ConvNormAct(Conv, BatchNorm, nn.hard_swish)
    for stride, features, residual in [(1, 8, True), (2, 8, False), (1, 16, False)]:
        block = InvertedResidual(conv_norm_act, features, 2, squeeze_excite=True, stride=stride)
        init = functools.partial(block.init, train=False)
        tree = drawn(jax.eval_shape(init, jax.random.key(1), x))
        y, state = jax.jit(
            lambda tree, block=block: block.apply(
                tree, x, train=False, capture_intermediates=True, mutable=["intermediates"]
            )
        )(tree)
        seen = {name: out["__call__"][0] for name, out in state["intermediates"].items()
                if name != "__call__"}  # fmt: skip
        gates = {"params": tree["params"]["squeeze_excite"]}
        filtered = nn.hard_swish(seen["depthwise_norm"])
        gated = SqueezeExcite(8).apply(gates, filtered)
        kernel = tree["params"]["project"]["kernel"][0, 0]
        chex.assert_trees_all_close(seen["project"], gated @ kernel, rtol=1e-4, atol=1e-5)
        expected = seen["project_norm"] + (x if residual else 0)
        chex.assert_trees_all_close(y, expected, rtol=1e-5, atol=1e-6)


def test_where_biases_are(variables):
    """`pre_logits` has a bias and no BatchNorm, unlike all convolutions."""
    biased = {
        path[-2]
        for path in flax.traverse_util.flatten_dict(variables["params"])
        if path[-1] == "bias" and not path[-2].endswith("norm")
    }
    assert biased == {"reduce", "pre_logits", "logits", "expand"}
    assert "bias" not in variables["params"]["stage2_block1"]["expand"]
    assert "pre_logits_norm" not in variables["params"]


@pytest.mark.parametrize("project", ["torchvision", "timm"])
def test_names_lose_nothing(project, variables):
    """Exported tensors are loaded exactly, including gates and `pre_logits`."""
    layout = layouts(small())[project](small(), variables)
    theirs = to_tensors(variables, layout)
    gates = [tensor.ndim for name, tensor in theirs.items() if re.search(r"\.(fc1|se)\b", name)]
    assert len(gates) >= 9 and set(gates) == {1, 4}
    chex.assert_trees_all_equal(to_variables(theirs, layout, variables, "weights"), variables)
