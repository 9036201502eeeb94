"""The layers of the networks; model files import layers only from here.

`netzoo.kernels` selects the implementation of a layer for each platform.
"""

from netzoo.kernels.blockwise_cross_entropy import classifier_cross_entropy
from netzoo.kernels.gelu import gelu
from netzoo.kernels.local_response_norm import local_response_norm
from netzoo.kernels.matmul import matmul
from netzoo.kernels.padding import Padding, Pads
from netzoo.kernels.pool import adaptive_avg_pool, global_avg_pool, max_pool
from netzoo.layers.attention import (
    Attention,
    KeyValue,
    MultiHeadAttention,
    attention_weights_once,
)
from netzoo.layers.conv import Conv
from netzoo.layers.dense import Dense
from netzoo.layers.dropout import Dropout, DropPath
from netzoo.layers.endpoints import (
    AUXILIARY,
    ENDPOINTS,
    collected_endpoints,
    endpoint,
    endpoints_wanted,
    perturbation,
    perturbed,
    store_endpoint,
)
from netzoo.layers.mlp import Mlp
from netzoo.layers.norm import BatchNorm, GroupNorm, batch_norm_groups
from netzoo.layers.squeeze_excite import SqueezeExcite

__all__ = [
    "AUXILIARY",
    "ENDPOINTS",
    "Attention",
    "BatchNorm",
    "Conv",
    "Dense",
    "DropPath",
    "Dropout",
    "GroupNorm",
    "KeyValue",
    "Mlp",
    "MultiHeadAttention",
    "Padding",
    "Pads",
    "SqueezeExcite",
    "adaptive_avg_pool",
    "attention_weights_once",
    "batch_norm_groups",
    "classifier_cross_entropy",
    "collected_endpoints",
    "endpoint",
    "endpoints_wanted",
    "gelu",
    "global_avg_pool",
    "local_response_norm",
    "matmul",
    "max_pool",
    "perturbation",
    "perturbed",
    "store_endpoint",
]
