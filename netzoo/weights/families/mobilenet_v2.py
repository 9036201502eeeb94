"""Names of MobileNetV2's tensors in torchvision, timm and Keras."""

from netzoo.models.mobilenet_v2 import STAGES, MobileNetV2
from netzoo.weights.keras_layout import keras_layout
from netzoo.weights.state_dict import Layout, torch_layout


def torchvision(model: MobileNetV2, shapes) -> Layout:
    """`features.N` counts stem, blocks and head; the layers of a block are numbered too."""
    del model
    names = {
        "stem": "features.0.0",
        "stem_norm": "features.0.1",
        "head": "features.18.0",
        "head_norm": "features.18.1",
        "logits": "classifier.1",
    }
    number = 0
    for index, stage in enumerate(STAGES, start=1):
        for block in range(1, stage.blocks + 1):
            number += 1
            ours, theirs = f"stage{index}_block{block}", f"features.{number}.conv"
            first = 0
            if stage.expansion != 1:
                names[f"{ours}/expand"] = f"{theirs}.0.0"
                names[f"{ours}/expand_norm"] = f"{theirs}.0.1"
                first = 1
            names[f"{ours}/depthwise"] = f"{theirs}.{first}.0"
            names[f"{ours}/depthwise_norm"] = f"{theirs}.{first}.1"
            names[f"{ours}/project"] = f"{theirs}.{first + 1}"
            names[f"{ours}/project_norm"] = f"{theirs}.{first + 2}"
    return torch_layout(shapes, names)


def timm(model: MobileNetV2, shapes) -> Layout:
    """`blocks.S.B.conv_pw`; a block without expansion calls its projection `conv_pw`."""
    del model
    names = {
        "stem": "conv_stem",
        "stem_norm": "bn1",
        "head": "conv_head",
        "head_norm": "bn2",
        "logits": "classifier",
    }
    for index, stage in enumerate(STAGES, start=1):
        for block in range(1, stage.blocks + 1):
            ours, theirs = f"stage{index}_block{block}", f"blocks.{index - 1}.{block - 1}"
            layers = ("depthwise", "conv_dw", "bn1"), ("project", "conv_pw", "bn2")
            if stage.expansion != 1:
                layers = (
                    ("expand", "conv_pw", "bn1"),
                    ("depthwise", "conv_dw", "bn2"),
                    ("project", "conv_pwl", "bn3"),
                )
            for layer, conv, norm in layers:
                names[f"{ours}/{layer}"] = f"{theirs}.{conv}"
                names[f"{ours}/{layer}_norm"] = f"{theirs}.{norm}"
    return torch_layout(shapes, names)


def keras(model: MobileNetV2, shapes) -> Layout:
    """`block_N_expand` counts the blocks after the first, which is `expanded_conv`.

    Goes with `padding="same"`, `norm_epsilon=1e-3` and pixels in [-1, 1].
    """
    del model
    names = {
        "stem": "Conv1",
        "stem_norm": "bn_Conv1",
        "head": "Conv_1",
        "head_norm": "Conv_1_bn",
        "logits": "predictions",
    }
    number = 0
    for index, stage in enumerate(STAGES, start=1):
        for block in range(1, stage.blocks + 1):
            ours = f"stage{index}_block{block}"
            theirs = f"block_{number}" if number else "expanded_conv"
            number += 1
            for layer in ("expand", "depthwise", "project"):
                names[f"{ours}/{layer}"] = f"{theirs}_{layer}"
                names[f"{ours}/{layer}_norm"] = f"{theirs}_{layer}_BN"
    return keras_layout(shapes, names)


LAYOUTS = {"torchvision": torchvision, "timm": timm, "keras": keras}
