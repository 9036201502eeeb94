"""The few layers that several families share, in the form that is fast on every platform."""

from netzoo.layers.conv import Conv
from netzoo.layers.norm import BatchNorm

__all__ = ["BatchNorm", "Conv"]
