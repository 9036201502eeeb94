"""Names of MobileNet V1's tensors in timm, transformers and Keras."""

from netzoo.models.mobilenet_v1 import STAGES, MobileNetV1
from netzoo.weights.published import KERAS_IMAGES, Family, Project
from netzoo.weights.state_dict import (
    KERAS_POINTWISE,
    Layout,
    Names,
    block_names,
    keras_naming,
    make_layout,
)

DEPTHS = [stage.blocks for stage in STAGES]


def timm(model: MobileNetV1, shapes) -> Layout:
    """Return the layout with names such as `blocks.S.B.conv_dw`, in stage S and block B."""
    layers = {"depthwise": ("conv_dw", "bn1"), "pointwise": ("conv_pw", "bn2")}
    names = block_names(DEPTHS, "blocks.{stage0}.{block0}.{layer}", layers)
    names |= {"stem": ("conv_stem", "bn1"), "head": ("conv_head", "bn2"), "logits": "classifier"}
    return make_layout(shapes, names)


def transformers(model: MobileNetV1, shapes) -> Layout:
    """Return the layout with names such as `mobilenet_v1.layer.N.convolution`.

    N counts the layers of all blocks: depthwise and 1x1 convolutions in turn.
    """
    layers = block_names(DEPTHS, "", {"depthwise": "", "pointwise": ""})
    theirs = {ours: f"layer.{n}" for n, ours in enumerate(layers)}
    theirs |= {"stem": "conv_stem", "head": "conv_head"}  # the head of timm's network alone
    names: Names = {
        ours: (f"mobilenet_v1.{name}.convolution", f"mobilenet_v1.{name}.normalization")
        for ours, name in theirs.items()
    }
    return make_layout(shapes, names | {"logits": "classifier"})


def keras(model: MobileNetV1, shapes) -> Layout:
    """Return the layout with names such as `conv_dw_N`; N counts the blocks from 1.

    The logits are a 1x1 convolution. Keras pads images of odd sizes differently from
    `padding="same"`.
    """
    layers = {
        "depthwise": ("conv_dw_{number}", "conv_dw_{number}_bn"),
        "pointwise": ("conv_pw_{number}", "conv_pw_{number}_bn"),
    }
    names = block_names(DEPTHS, "{layer}", layers)
    names |= {"stem": ("conv1", "conv1_bn"), "logits": "conv_preds"}
    names["head"] = ("conv_head", "conv_head_bn")  # Keras has no such network
    return make_layout(shapes, names, keras_naming, transforms={"logits": KERAS_POINTWISE})


FAMILY = Family(
    MobileNetV1,
    {
        # timm's weights of this family are trained on pixels in [-1, 1].
        "timm": Project(
            timm,
            KERAS_IMAGES._replace(interpolation="bicubic"),
            {"padding": "torch", "norm_epsilon": 1e-5},
        ),
        "transformers": Project(
            transformers, KERAS_IMAGES, {"padding": "same", "norm_epsilon": 1e-3}
        ),
        "keras": Project(keras, KERAS_IMAGES, {"padding": "same", "norm_epsilon": 1e-3}),
    },
)
