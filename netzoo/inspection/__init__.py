"""Looks inside trained networks: where they look, and what their layers compute."""

from netzoo.inspection.activations import Histogram, activation_histograms, feature_maps
from netzoo.inspection.attention import (
    attention_distance,
    attention_heads,
    attention_map,
    attention_rollout,
)
from netzoo.inspection.attribution import IntegratedGradients, integrated_gradients, occlusion
from netzoo.inspection.curves import Curves, deletion_and_insertion
from netzoo.inspection.grad_cam import grad_cam
from netzoo.inspection.layers import default_layer
from netzoo.inspection.overlay import overlay
from netzoo.inspection.programs import layers_of
from netzoo.inspection.tensors import (
    NormStatistics,
    batch_norm_statistics,
    first_kernels,
    kernel_components,
    position_similarity,
)
from netzoo.models.endpoint_shapes import Layer, network_layers

__all__ = [
    "Curves",
    "Histogram",
    "IntegratedGradients",
    "Layer",
    "NormStatistics",
    "activation_histograms",
    "attention_distance",
    "attention_heads",
    "attention_map",
    "attention_rollout",
    "batch_norm_statistics",
    "default_layer",
    "deletion_and_insertion",
    "feature_maps",
    "first_kernels",
    "grad_cam",
    "integrated_gradients",
    "kernel_components",
    "layers_of",
    "network_layers",
    "occlusion",
    "overlay",
    "position_similarity",
]
