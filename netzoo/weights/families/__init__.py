"""The tensor names of each family in other projects.

Each family has a file here, which ends with its `Family`, and a name in the lists below.
"""

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
from netzoo.weights.published import Family
from netzoo.weights.state_dict import Layout

_CONVOLUTIONAL = (alexnet, vgg, googlenet, resnet, mobilenet_v1, mobilenet_v2, mobilenet_v3)
_WITH_ATTENTION = (transformer, vit, hybrid_vit)
FAMILIES: dict[type[nn.Module], Family] = {
    file.FAMILY.module: file.FAMILY for file in _CONVOLUTIONAL + _WITH_ATTENTION
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
