"""Names of MobileNet V1's tensors in timm and Keras."""

from collections.abc import Iterator

from netzoo.models.mobilenet_v1 import STAGES, MobileNetV1
from netzoo.weights.published import Family
from netzoo.weights.state_dict import Layout, keras_layout, torch_layout


def _blocks() -> Iterator[tuple[int, int]]:
    """Yields the numbers of stage and block, both from 1, in the order of the layers."""
    for index, stage in enumerate(STAGES, start=1):
        for block in range(1, stage.blocks + 1):
            yield index, block


def timm(model: MobileNetV1, shapes) -> Layout:
    """`blocks.S.B.conv_dw`, `blocks.S.B.conv_pw`; go with `norm_epsilon=1e-5`."""
    del model
    names = {"stem": "conv_stem", "stem_norm": "bn1", "logits": "classifier"}
    for stage, block in _blocks():
        ours, theirs = f"stage{stage}_block{block}", f"blocks.{stage - 1}.{block - 1}"
        names[f"{ours}/depthwise"] = f"{theirs}.conv_dw"
        names[f"{ours}/depthwise_norm"] = f"{theirs}.bn1"
        names[f"{ours}/pointwise"] = f"{theirs}.conv_pw"
        names[f"{ours}/pointwise_norm"] = f"{theirs}.bn2"
    return torch_layout(shapes, names)


def keras(model: MobileNetV1, shapes) -> Layout:
    """`conv_dw_N`, `conv_pw_N` count the blocks from 1; the logits are a 1x1 convolution.

    Go with `padding="same"`, `norm_epsilon=1e-3`, images of an even size and pixels in [-1, 1].
    """
    del model
    names = {"stem": "conv1", "stem_norm": "conv1_bn", "logits": "conv_preds"}
    for number, (stage, block) in enumerate(_blocks(), start=1):
        ours = f"stage{stage}_block{block}"
        for layer, theirs in (("depthwise", "conv_dw"), ("pointwise", "conv_pw")):
            names[f"{ours}/{layer}"] = f"{theirs}_{number}"
            names[f"{ours}/{layer}_norm"] = f"{theirs}_{number}_bn"
    return keras_layout(shapes, names, pointwise_dense=["logits"])


SLIM = "TF-slim's table of MobileNetV1 checkpoints"
# Top-1 of the authors' weights, in percent.
SLIM_ACCURACIES = {
    "mobilenet_v1_025": 49.8,
    "mobilenet_v1_050": 63.3,
    "mobilenet_v1_075": 68.4,
    "mobilenet_v1": 70.9,
}
FAMILY = Family(
    MobileNetV1,
    {"timm": timm, "keras": keras},
    reported={model: (accuracy, SLIM) for model, accuracy in SLIM_ACCURACIES.items()},
)
