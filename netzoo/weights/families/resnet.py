"""Names of ResNet's tensors in torchvision and timm, which are the same."""

from netzoo.models.resnet import ResNet
from netzoo.weights.state_dict import Layout, torch_layout


def torchvision(model: ResNet, shapes) -> Layout:
    """`conv1`, `layer1.0.conv1`, `layer1.0.downsample.0`, `fc`."""
    names = {"stem": "conv1", "stem_norm": "bn1", "logits": "fc"}
    for stage, depth in enumerate(model.variant.depths, start=1):
        for block in range(depth):
            ours, theirs = f"stage{stage}_block{block + 1}", f"layer{stage}.{block}"
            for index in (1, 2, 3):
                names[f"{ours}/conv{index}"] = f"{theirs}.conv{index}"
                names[f"{ours}/norm{index}"] = f"{theirs}.bn{index}"
            names[f"{ours}/shortcut"] = f"{theirs}.downsample.0"
            names[f"{ours}/shortcut_norm"] = f"{theirs}.downsample.1"
    return torch_layout(shapes, names)


LAYOUTS = {"torchvision": torchvision, "timm": torchvision}
