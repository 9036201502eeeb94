"""Names of ResNet's tensors in torchvision and timm, which are the same, and in transformers."""

from netzoo.models.resnet import ResNet
from netzoo.weights.published import (
    TIMM_IMAGES,
    TORCHVISION_IMAGES,
    Family,
    Project,
)
from netzoo.weights.state_dict import Layout, block_names, make_layout


def torchvision(model: ResNet, shapes) -> Layout:
    """Return the layout with names such as `layer1.0.conv1`, `layer1.0.downsample.0` and `fc`."""
    layers = residual_layers("bn", ("downsample.0", "downsample.1"))
    names = block_names(model.variant.depths, "layer{stage}.{block0}.{layer}", layers)
    return make_layout(shapes, names | {"stem": ("conv1", "bn1"), "logits": "fc"})


def transformers(model: ResNet, shapes) -> Layout:
    """Return the layout with names such as `resnet.encoder.stages.S.layers.B.layer.N.convolution`.

    S counts the stages, B the blocks of a stage and N the convolutions of a block.
    """
    layers: dict[str, str | tuple[str, str]] = {"shortcut": _with_norm("shortcut")}
    for index in (1, 2, 3):
        conv, norm = _with_norm(f"layer.{index - 1}")
        layers |= {f"conv{index}": conv, f"norm{index}": norm}
    template = "resnet.encoder.stages.{stage0}.layers.{block0}.{layer}"
    names = block_names(model.variant.depths, template, layers)
    names |= {"stem": _with_norm("resnet.embedder.embedder"), "logits": "classifier.1"}
    return make_layout(shapes, names)


def _with_norm(name: str) -> tuple[str, str]:
    return f"{name}.convolution", f"{name}.normalization"


def residual_layers(norm: str, shortcut: tuple[str, str]) -> dict[str, str | tuple[str, str]]:
    """Return the names of a block's layers; the norms are named `norm` and a number."""
    layers: dict[str, str | tuple[str, str]] = {"shortcut": shortcut}
    for index in (1, 2, 3):
        layers |= {f"conv{index}": f"conv{index}", f"norm{index}": f"{norm}{index}"}
    return layers


OPTIONS = {"padding": "torch", "norm_epsilon": 1e-5, "stride_in_first": False}
FAMILY = Family(
    ResNet,
    {
        "torchvision": Project(torchvision, TORCHVISION_IMAGES, OPTIONS),
        "timm": Project(torchvision, TIMM_IMAGES, OPTIONS),
        "transformers": Project(transformers, TIMM_IMAGES, OPTIONS),
    },
)
