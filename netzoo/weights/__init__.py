"""Reads, converts, writes and downloads weights."""

from netzoo.weights.export import save_safetensors, to_torch
from netzoo.weights.families import CATALOGUE, list_weights, reported_accuracy
from netzoo.weights.load import load_weights

__all__ = [
    "CATALOGUE",
    "list_weights",
    "load_weights",
    "reported_accuracy",
    "save_safetensors",
    "to_torch",
]
