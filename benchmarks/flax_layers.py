"""Flax's own layers under the call signatures of `netzoo.layers`: the peer called `flax`.

Put in the place of `Conv` and `BatchNorm` while a network is traced, they make the network that
one would write with `flax.linen` alone, with the same parameter tree.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from netzoo.layers import Conv as NetzooConv
from netzoo.layers.padding import Padding, Pads


def Conv(
    features: int,
    kernel_size: int,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    use_bias: bool = False,
    padding: Padding | Pads = "torch",
    dtype: jnp.dtype = jnp.float32,
    kernel_init: nn.initializers.Initializer = NetzooConv.kernel_init,
    bias_init: nn.initializers.Initializer = NetzooConv.bias_init,
    name: str | None = None,
) -> nn.Conv:
    """Returns `flax.linen.Conv` for the arguments of `netzoo.layers.Conv`.

    It starts from netzoo's initial values, so that both networks compute the same.
    """
    half = dilation * (kernel_size - 1) // 2
    if isinstance(padding, str):
        padding = "SAME" if padding == "same" else ((half, half), (half, half))
    return nn.Conv(
        features,
        (kernel_size, kernel_size),
        strides=stride,
        padding=padding,
        kernel_dilation=dilation,
        feature_group_count=groups,
        use_bias=use_bias,
        dtype=dtype,
        kernel_init=kernel_init,
        bias_init=bias_init,
        name=name,
    )


class BatchNorm(nn.BatchNorm):
    """`flax.linen.BatchNorm` with the defaults and the `train` argument of netzoo's."""

    momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalises the last axis, as `netzoo.layers.BatchNorm` does."""
        return super().__call__(x, use_running_average=not train)
