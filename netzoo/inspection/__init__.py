"""Looks inside trained networks: where they look, and what their layers compute."""

from netzoo.inspection.attention import attention_heads, attention_map, attention_rollout
from netzoo.inspection.grad_cam import grad_cam
from netzoo.inspection.layers import Layer, default_layer, network_layers
from netzoo.inspection.overlay import overlay
from netzoo.inspection.programs import layers_of

__all__ = [
    "Layer",
    "attention_heads",
    "attention_map",
    "attention_rollout",
    "default_layer",
    "grad_cam",
    "layers_of",
    "network_layers",
    "overlay",
]
