"""Names of ResNet's tensors in torchvision and timm, which are the same."""

from netzoo.models.resnet import ResNet
from netzoo.weights.published import (
    TIMM_IMAGES,
    TORCHVISION_IMAGES,
    Family,
    Project,
    torchvision_weights,
)
from netzoo.weights.state_dict import Layout, block_names, make_layout


def torchvision(model: ResNet, shapes) -> Layout:
    """Return the layout with names such as `layer1.0.conv1`, `layer1.0.downsample.0` and `fc`."""
    layers = residual_layers("bn", ("downsample.0", "downsample.1"))
    names = block_names(model.variant.depths, "layer{stage}.{block0}.{layer}", layers)
    return make_layout(shapes, names | {"stem": ("conv1", "bn1"), "logits": "fc"})


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
    },
    torchvision_weights(
        ("resnet18", "tv_in1k", "resnet18-f37072fd.pth", 256, 69.758),
        ("resnet34", "tv_in1k", "resnet34-b627a593.pth", 256, 73.314),
        ("resnet50", "tv_in1k", "resnet50-0676ba61.pth", 256, 76.130),
        ("resnet101", "tv_in1k", "resnet101-63fe2227.pth", 256, 77.374),
        ("resnet152", "tv_in1k", "resnet152-394f9c45.pth", 256, 78.312),
        ("resnext50_32x4d", "tv_in1k", "resnext50_32x4d-7cdf4587.pth", 256, 77.618),
        ("resnext101_32x8d", "tv_in1k", "resnext101_32x8d-8ba56ff5.pth", 256, 79.312),
        ("wide_resnet50_2", "tv_in1k", "wide_resnet50_2-95faca4d.pth", 256, 78.468),
        ("wide_resnet101_2", "tv_in1k", "wide_resnet101_2-32ee1156.pth", 256, 78.848),
        ("resnet50", "tv2_in1k", "resnet50-11ad3fa6.pth", 232, 80.858),
        ("resnet101", "tv2_in1k", "resnet101-cd907fc2.pth", 232, 81.886),
        ("resnet152", "tv2_in1k", "resnet152-f82ba261.pth", 232, 82.284),
        ("resnext50_32x4d", "tv2_in1k", "resnext50_32x4d-1a0047aa.pth", 232, 81.198),
        ("resnext101_32x8d", "tv2_in1k", "resnext101_32x8d-110c445d.pth", 232, 82.834),
        ("wide_resnet50_2", "tv2_in1k", "wide_resnet50_2-9ba9bcbe.pth", 232, 81.602),
        ("wide_resnet101_2", "tv2_in1k", "wide_resnet101_2-d733dc28.pth", 232, 82.510),
    ),
)
