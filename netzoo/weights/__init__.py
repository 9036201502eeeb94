"""Reads, converts, writes and downloads weights."""

from netzoo.weights.catalogue import (
    CATALOGUE,
    default_weights,
    list_weights,
    published_weights,
    reported_accuracy,
)
from netzoo.weights.channels import adapt_channels
from netzoo.weights.export import save_safetensors, to_torch
from netzoo.weights.loading import LoadedModel, load, load_weights
from netzoo.weights.published import Preprocessing

__all__ = [
    "CATALOGUE",
    "LoadedModel",
    "Preprocessing",
    "adapt_channels",
    "default_weights",
    "list_weights",
    "load",
    "load_weights",
    "published_weights",
    "reported_accuracy",
    "save_safetensors",
    "to_torch",
]
