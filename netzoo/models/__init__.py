"""The networks, one file per family; importing this package fills the registry."""

from netzoo.models import (
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
from netzoo.models.fold_batch_norm import fold_batch_norm
from netzoo.models.registry import create_model, list_models, model_entry

__all__ = [
    "alexnet",
    "create_model",
    "fold_batch_norm",
    "googlenet",
    "hybrid_vit",
    "list_models",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3",
    "model_entry",
    "resnet",
    "transformer",
    "vgg",
    "vit",
]
