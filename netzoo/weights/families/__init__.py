"""The names that other projects give the tensors of each family: one file a family.

A file holds one function for each project that publishes weights of the family,
`torchvision(model, shapes) -> Layout` and so on, in a table `LAYOUTS`.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn

from netzoo.errors import UserError
from netzoo.weights.families import (
    alexnet,
    googlenet,
    hybrid_vit,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    resnet,
    transformer,
    vgg,
    vit,
)
from netzoo.weights.state_dict import Layout

_FAMILIES: dict[str, dict[str, Callable[[Any, Any], Layout]]] = {
    "AlexNet": alexnet.LAYOUTS,
    "GoogLeNet": googlenet.LAYOUTS,
    "HybridViT": hybrid_vit.LAYOUTS,
    "MobileNetV1": mobilenet_v1.LAYOUTS,
    "MobileNetV2": mobilenet_v2.LAYOUTS,
    "MobileNetV3": mobilenet_v3.LAYOUTS,
    "ResNet": resnet.LAYOUTS,
    "Transformer": transformer.LAYOUTS,
    "VGG": vgg.LAYOUTS,
    "ViT": vit.LAYOUTS,
}


def layouts(model: nn.Module) -> dict[str, Callable[[Any, Any], Layout]]:
    """Returns project name to layout function for a network's family.

    Raises:
      UserError: No other project's names are known for the family.
    """
    family = type(model).__name__
    if family not in _FAMILIES:
        raise UserError(f"no names of other projects are known for {family}")
    return _FAMILIES[family]
