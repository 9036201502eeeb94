"""Reads, converts, writes and downloads weights."""

from netzoo.weights.export import save_safetensors, to_torch
from netzoo.weights.families import CATALOGUE, list_weights, reported_accuracy
from netzoo.weights.loading import LoadedModel, load, load_weights
from netzoo.weights.published import Preprocessing

__all__ = [
    "CATALOGUE",
    "LoadedModel",
    "Preprocessing",
    "list_weights",
    "load",
    "load_weights",
    "reported_accuracy",
    "save_safetensors",
    "to_torch",
]
