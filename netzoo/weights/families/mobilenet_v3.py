"""Names of MobileNetV3's tensors in torchvision and timm."""

from netzoo.models.mobilenet_v3 import MobileNetV3
from netzoo.weights.families.mobilenet_v2 import timm_block_names
from netzoo.weights.published import (
    KERAS_IMAGES,
    TIMM_IMAGES,
    TORCHVISION_IMAGES,
    Family,
    Project,
)
from netzoo.weights.state_dict import Layout, Names, block_names, covering_conv, make_layout


def torchvision(model: MobileNetV3, shapes) -> Layout:
    """Return the layout with names such as `features.N.block.M`.

    N counts the stem, the blocks and the head. M counts the layers of a block. torchvision's
    `width_mult` creates networks of other shapes.
    """
    names: Names = {"stem": ("features.0.0", "features.0.1")}
    number = 1
    for index, stage in enumerate(model.variant.stages, start=1):
        gate = ["squeeze_excite"] if stage.squeeze_excite and not model.minimalistic else []
        for block, expansion in enumerate(stage.expansions, start=1):
            expand = ["expand"] if expansion != 1 else []
            for place, layer in enumerate([*expand, "depthwise", *gate, "project"]):
                ours = f"stage{index}_block{block}/{layer}"
                theirs = f"features.{number}.block.{place}"
                if layer == "squeeze_excite":
                    names |= {f"{ours}/reduce": f"{theirs}.fc1", f"{ours}/expand": f"{theirs}.fc2"}
                else:
                    names[ours] = (f"{theirs}.0", f"{theirs}.1")
            number += 1
    names["head"] = (f"features.{number}.0", f"features.{number}.1")
    names["head2"] = (f"features.{number + 1}.0", f"features.{number + 1}.1")
    names |= {"pre_logits": "classifier.0", "logits": "classifier.3"}
    return _layout(shapes, names)


def timm(model: MobileNetV3, shapes) -> Layout:
    """Return the layout with names such as `blocks.S.B.conv_pw`, in stage S and block B.

    The last stage is netzoo's head. Weights named `tf_*`, including the minimalistic ones, come
    from TensorFlow and have the same tensor names.
    """
    depths = [len(stage.expansions) for stage in model.variant.stages]
    gates = {f"squeeze_excite/{layer}": f"se.conv_{layer}" for layer in ("reduce", "expand")}
    last = f"blocks.{len(depths)}"
    names = {
        "stem": ("conv_stem", "bn1"),
        **timm_block_names(depths),
        **block_names(depths, "blocks.{stage0}.{block0}.{layer}", gates),
        "head": (f"{last}.0.conv", f"{last}.0.bn1"),
        "head2": (f"{last}.1.conv", f"{last}.1.bn1"),
        "pre_logits": "conv_head",
        "logits": "classifier",
    }
    return _layout(shapes, names, "pre_logits")


def _layout(shapes, names: Names, *convolutions: str) -> Layout:
    """Make a layout in which squeeze-excite and the given layers are 1x1 convolutions."""
    convolutions += tuple(name for name in names if "squeeze_excite" in name)
    return make_layout(shapes, names, transforms=dict.fromkeys(convolutions, covering_conv(1)))


FAMILY = Family(
    MobileNetV3,
    {
        "torchvision": Project(
            torchvision, TORCHVISION_IMAGES, {"padding": "torch", "norm_epsilon": 1e-3}
        ),
        "timm": Project(timm, TIMM_IMAGES, {"padding": "torch", "norm_epsilon": 1e-5}),
        "timm tf_": Project(timm, KERAS_IMAGES, {"padding": "same", "norm_epsilon": 1e-3}),
    },
)
