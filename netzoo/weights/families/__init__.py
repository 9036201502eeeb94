"""The weights of each family: tensor names in other projects, and published files.

Each family has a file here, which ends with its `Family`, and a name in the lists below.
"""

import fnmatch
from collections.abc import Callable, Mapping
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
from netzoo.weights.published import Family, PublishedWeights
from netzoo.weights.state_dict import Layout

_CONVOLUTIONAL = (alexnet, vgg, googlenet, resnet, mobilenet_v1, mobilenet_v2, mobilenet_v3)
_WITH_ATTENTION = (transformer, vit, hybrid_vit)
FAMILIES: dict[type[nn.Module], Family] = {
    file.FAMILY.module: file.FAMILY for file in _CONVOLUTIONAL + _WITH_ATTENTION
}
CATALOGUE: dict[str, PublishedWeights] = {
    weights.name: weights for family in FAMILIES.values() for weights in family.published
}
REPORTED: dict[str, tuple[float, str]] = {
    model: reported for family in FAMILIES.values() for model, reported in family.reported.items()
}


def layouts(model: nn.Module) -> Mapping[str, Callable[[Any, Any], Layout]]:
    """Return the layout functions of a network's family by project.

    Raises:
      UserError: No project's names are known for the family.
    """
    if type(model) not in FAMILIES:
        raise UserError(
            f"no names of other projects are known for {type(model).__name__}, only netzoo's own"
        )
    return {name: project.layout for name, project in FAMILIES[type(model)].projects.items()}


def list_weights(pattern: str = "*") -> list[str]:
    """Return the sorted names of published weights that match a shell pattern, e.g. `"resnet*"`.

    `netzoo.load_weights` accepts each name; `CATALOGUE[name]` describes the weights.
    """
    return sorted(fnmatch.filter(CATALOGUE, pattern))


def reported_accuracy(model: str) -> tuple[float, str] | None:
    """Return the top-1 accuracy of a network on ImageNet, in percent, and its source.

    The accuracy is that of torchvision's first weights, or else of the weights published with the
    network. The result is None if neither is known.
    """
    weights = CATALOGUE.get(f"{model}.tv_in1k")
    if weights and weights.accuracy is not None:
        return weights.accuracy, f"{weights.name}, {weights.source}"
    return REPORTED.get(model)
