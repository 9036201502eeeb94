"""Names of MobileNetV3's tensors in torchvision and timm."""

from netzoo.models.mobilenet_v3 import MobileNetV3
from netzoo.weights.families.mobilenet_v2 import timm_block_names
from netzoo.weights.published import Family, torchvision_weights
from netzoo.weights.state_dict import Layout, Transform, block_names, torch_layout

# A dense layer that PyTorch has as a 1x1 convolution [out, in, 1, 1].
POINTWISE_DENSE = Transform(lambda x: x.reshape(x.shape[:2]).T, lambda x: x.T[:, :, None, None])


def _gates(model: MobileNetV3) -> dict[str, Transform]:
    """Returns the transforms of all squeeze-excite layers, for kernels."""
    return {
        f"stage{index}_block{block}/squeeze_excite/{layer}": POINTWISE_DENSE
        for index, stage in enumerate(model.variant.stages, start=1)
        for block in range(1, len(stage.expansions) + 1)
        for layer in ("reduce", "expand")
    }


def torchvision(model: MobileNetV3, shapes) -> Layout:
    """`features.N` counts stem, blocks and head; the layers of a block are numbered too.

    Goes with `norm_epsilon=1e-3`. torchvision's `width_mult` makes networks of another shape.
    """
    names = {"stem": "features.0.0", "stem_norm": "features.0.1"}
    number = 0
    for index, stage in enumerate(model.variant.stages, start=1):
        for block, expansion in enumerate(stage.expansions, start=1):
            number += 1
            ours, theirs = f"stage{index}_block{block}", f"features.{number}.block"
            layers = ["depthwise", "project"]
            if expansion != 1:
                layers.insert(0, "expand")
            if stage.squeeze_excite and not model.minimalistic:
                layers.insert(-1, "squeeze_excite")
            for place, layer in enumerate(layers):
                if layer == "squeeze_excite":
                    names[f"{ours}/{layer}/reduce"] = f"{theirs}.{place}.fc1"
                    names[f"{ours}/{layer}/expand"] = f"{theirs}.{place}.fc2"
                else:
                    names[f"{ours}/{layer}"] = f"{theirs}.{place}.0"
                    names[f"{ours}/{layer}_norm"] = f"{theirs}.{place}.1"
    names["head"], names["head_norm"] = f"features.{number + 1}.0", f"features.{number + 1}.1"
    names["pre_logits"], names["logits"] = "classifier.0", "classifier.3"
    return torch_layout(shapes, names, transforms=_gates(model))


def timm(model: MobileNetV3, shapes) -> Layout:
    """`blocks.S.B.conv_pw`, `blocks.S.B.se`; the last of `blocks` is our head.

    Weights `tf_*`, the minimalistic among them, go with `padding="same"` and `norm_epsilon=1e-3`,
    the others with `padding="torch"` and `norm_epsilon=1e-5`.
    """
    depths = [len(stage.expansions) for stage in model.variant.stages]
    gates = {f"squeeze_excite/{layer}": f"se.conv_{layer}" for layer in ("reduce", "expand")}
    names = timm_block_names(depths)
    names |= block_names(depths, "blocks.{stage0}.{block0}.{layer}", gates)
    last = f"blocks.{len(model.variant.stages)}.0"
    names |= {
        "stem": "conv_stem",
        "stem_norm": "bn1",
        "head": f"{last}.conv",
        "head_norm": f"{last}.bn1",
        "pre_logits": "conv_head",
        "logits": "classifier",
    }
    transforms = {**_gates(model), "pre_logits": POINTWISE_DENSE}
    return torch_layout(shapes, names, transforms=transforms)


# Columns: the arguments of `torchvision_weights`.
TORCHVISION = (
    ("mobilenet_v3_large", "tv_in1k", "mobilenet_v3_large-8738ca79.pth", 256, 74.042),
    ("mobilenet_v3_small", "tv_in1k", "mobilenet_v3_small-047dcff4.pth", 256, 67.668),
    ("mobilenet_v3_large", "tv2_in1k", "mobilenet_v3_large-5c1a4163.pth", 232, 75.274),
)
SLIM = "TF-slim's table of MobileNetV3 checkpoints"
# Top-1 of the authors' weights, in percent.
SLIM_ACCURACIES = {
    "mobilenet_v3_large_075": 73.3,
    "mobilenet_v3_large_minimalistic": 72.3,
    "mobilenet_v3_small_075": 65.4,
    "mobilenet_v3_small_minimalistic": 61.9,
}
FAMILY = Family(
    MobileNetV3,
    {"torchvision": torchvision, "timm": timm},
    [torchvision_weights(*row) for row in TORCHVISION],
    reported={model: (accuracy, SLIM) for model, accuracy in SLIM_ACCURACIES.items()},
)
