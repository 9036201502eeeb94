"""Names of MobileNetV2's tensors in torchvision, timm, transformers and Keras."""

from collections.abc import Sequence

from netzoo.models.mobilenet_v2 import MobileNetV2
from netzoo.weights.published import (
    KERAS_IMAGES,
    TIMM_IMAGES,
    TORCHVISION_IMAGES,
    Family,
    Project,
)
from netzoo.weights.state_dict import Layout, Names, block_names, keras_naming, make_layout


def torchvision(model: MobileNetV2, shapes) -> Layout:
    """Return the layout with names such as `features.N.conv.M`.

    N counts the stem, the blocks and the head. M counts the layers of a block.
    """
    layers = {"expand": ("0.0", "0.1"), "depthwise": ("1.0", "1.1"), "project": ("2", "3")}
    last = sum(model.depths()) + 1
    first = {"depthwise": ("0.0", "0.1"), "project": ("1", "2")}
    names = {
        "stem": ("features.0.0", "features.0.1"),
        **block_names(model.depths(), "features.{number}.conv.{layer}", layers),
        **block_names([1], "features.{number}.conv.{layer}", first),
        "head": (f"features.{last}.0", f"features.{last}.1"),
        "logits": "classifier.1",
    }
    return make_layout(shapes, names)


def timm(model: MobileNetV2, shapes) -> Layout:
    """Return the layout with names such as `blocks.S.B.conv_pw`, in stage S and block B."""
    names = timm_block_names(model.depths())
    names |= {"stem": ("conv_stem", "bn1"), "head": ("conv_head", "bn2"), "logits": "classifier"}
    return make_layout(shapes, names)


def timm_block_names(depths: Sequence[int]) -> Names:
    """Return timm's names of inverted residuals; those of the first stage do not expand."""
    template = "blocks.{stage0}.{block0}.{layer}"
    layers = {
        "expand": ("conv_pw", "bn1"),
        "depthwise": ("conv_dw", "bn2"),
        "project": ("conv_pwl", "bn3"),
    }
    first = {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")}
    return block_names(depths, template, layers) | block_names(depths[:1], template, first)


def transformers(model: MobileNetV2, shapes) -> Layout:
    """Return the layout with names such as `mobilenet_v2.layer.N.expand_1x1.convolution`.

    N counts the blocks after the first, which belongs to the stem.
    """
    first, *others = (name.removesuffix("/") for name in block_names(model.depths(), "", {"": ""}))
    blocks = {first: "conv_stem", **{name: f"layer.{n}" for n, name in enumerate(others)}}
    layers = {"expand": "expand_1x1", "depthwise": "conv_3x3", "project": "reduce_1x1"}
    theirs = {f"{ours}/{layer}": f"{block}.{name}" for ours, block in blocks.items()
              for layer, name in layers.items()}  # fmt: skip
    theirs |= {"stem": "conv_stem.first_conv", "head": "conv_1x1"}
    names: Names = {
        ours: (f"mobilenet_v2.{name}.convolution", f"mobilenet_v2.{name}.normalization")
        for ours, name in theirs.items()
    }
    return make_layout(shapes, names | {"logits": "classifier"})


def keras(model: MobileNetV2, shapes) -> Layout:
    """Return the layout with names such as `block_N_expand`.

    N counts the blocks after the first, which is named `expanded_conv`.
    """
    layers = {layer: (layer, f"{layer}_BN") for layer in ("expand", "depthwise", "project")}
    names = {
        "stem": ("Conv1", "bn_Conv1"),
        **block_names(model.depths(), "block_{number0}_{layer}", layers),
        **block_names([1], "expanded_conv_{layer}", layers),
        "head": ("Conv_1", "Conv_1_bn"),
        "logits": "predictions",
    }
    return make_layout(shapes, names, keras_naming)


OF_PYTORCH = {"padding": "torch", "norm_epsilon": 1e-5}
FAMILY = Family(
    MobileNetV2,
    {
        "torchvision": Project(torchvision, TORCHVISION_IMAGES, OF_PYTORCH),
        "timm": Project(timm, TIMM_IMAGES, OF_PYTORCH),
        "transformers": Project(
            transformers, KERAS_IMAGES, {"padding": "same", "norm_epsilon": 1e-3}
        ),
        "keras": Project(keras, KERAS_IMAGES, {"padding": "same", "norm_epsilon": 1e-3}),
    },
)
