"""Names of MobileNetV2's tensors in torchvision, timm and Keras."""

from netzoo.models.mobilenet_v2 import STAGES, MobileNetV2
from netzoo.weights.published import Family, torchvision_weights
from netzoo.weights.state_dict import Layout, keras_layout, torch_layout


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
    """`blocks.S.B.conv_pw`, `blocks.S.B.bn1`; see `timm_inverted_residual`."""
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
            names |= timm_inverted_residual(index, block, expands=stage.expansion != 1)
    return torch_layout(shapes, names)


def timm_inverted_residual(stage: int, block: int, *, expands: bool) -> dict[str, str]:
    """Returns the names of a block's layers in timm; both numbers count from 1.

    A block without expansion calls its projection `conv_pw`.
    """
    ours, theirs = f"stage{stage}_block{block}", f"blocks.{stage - 1}.{block - 1}"
    layers = {"depthwise": "conv_dw", "project": "conv_pw"}
    if expands:
        layers = {"expand": "conv_pw", "depthwise": "conv_dw", "project": "conv_pwl"}
    names = {}
    for number, (layer, conv) in enumerate(layers.items(), start=1):
        names[f"{ours}/{layer}"] = f"{theirs}.{conv}"
        names[f"{ours}/{layer}_norm"] = f"{theirs}.bn{number}"
    return names


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


# Columns: the arguments of `torchvision_weights`.
TORCHVISION = (
    ("mobilenet_v2", "tv_in1k", "mobilenet_v2-b0353104.pth", 256, 71.878),
    ("mobilenet_v2", "tv2_in1k", "mobilenet_v2-7ebf99e0.pth", 232, 72.154),
)
SLIM = "TF-slim's table of MobileNetV2 checkpoints"
# Top-1 of the authors' weights, in percent.
SLIM_ACCURACIES = {
    "mobilenet_v2_035": 60.3,
    "mobilenet_v2_050": 65.4,
    "mobilenet_v2_075": 69.8,
    "mobilenet_v2_130": 74.4,
    "mobilenet_v2_140": 75.0,
}
FAMILY = Family(
    MobileNetV2,
    {"torchvision": torchvision, "timm": timm, "keras": keras},
    [torchvision_weights(*row) for row in TORCHVISION],
    reported={model: (accuracy, SLIM) for model, accuracy in SLIM_ACCURACIES.items()},
)
