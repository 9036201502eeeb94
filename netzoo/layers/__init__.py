"""The few layers that several families share, in the form that is fast on every platform."""

from netzoo.layers.attention import MultiHeadAttention
from netzoo.layers.conv import Conv
from netzoo.layers.drop_path import DropPath
from netzoo.layers.dropout import Dropout
from netzoo.layers.endpoints import auxiliary_logits, endpoint
from netzoo.layers.gelu import gelu
from netzoo.layers.local_response_norm import local_response_norm
from netzoo.layers.mlp import Mlp
from netzoo.layers.norm import BatchNorm, GroupNorm
from netzoo.layers.pool import adaptive_avg_pool, avg_pool, global_avg_pool, max_pool

__all__ = [
    "BatchNorm",
    "Conv",
    "DropPath",
    "Dropout",
    "GroupNorm",
    "Mlp",
    "MultiHeadAttention",
    "adaptive_avg_pool",
    "auxiliary_logits",
    "avg_pool",
    "endpoint",
    "gelu",
    "global_avg_pool",
    "local_response_norm",
    "max_pool",
]
