"""Flax's own layers with the call signatures of `netzoo.layers`, for the peer `flax`.

They replace netzoo's layers while a network is traced. The result is the network that one would
write with `flax.linen` alone, with the same parameter tree.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from netzoo.kernels.pool import window_pads
from netzoo.layers import Conv as NetzooConv
from netzoo.layers import Padding, Pads
from netzoo.models import hybrid_vit


def _padding(padding: Padding | Pads, kernel_size: int, dilation: int) -> str | Pads:
    half = dilation * (kernel_size - 1) // 2
    if isinstance(padding, str):
        return "SAME" if padding == "same" else ((half, half), (half, half))
    return padding


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
    """Return `flax.linen.Conv` for the arguments of `netzoo.layers.Conv`.

    It starts from netzoo's initial values, so that both networks compute the same.
    """
    return nn.Conv(
        features,
        (kernel_size, kernel_size),
        strides=stride,
        padding=_padding(padding, kernel_size, dilation),
        kernel_dilation=dilation,
        feature_group_count=groups,
        use_bias=use_bias,
        dtype=dtype,
        kernel_init=kernel_init,
        bias_init=bias_init,
        name=name,
    )


Dense = nn.Dense


class StandardizedConv(hybrid_vit.StandardizedConv):
    """netzoo's layer with XLA's convolution, because flax has no such layer."""

    def _convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        padding = _padding(self.padding, self.kernel_size, self.dilation)
        strides, numbers = (self.stride, self.stride), ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=numbers)


class BatchNorm(nn.BatchNorm):
    """`flax.linen.BatchNorm` with the defaults and the `train` argument of netzoo's."""

    momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalise the last axis, as `netzoo.layers.BatchNorm` does."""
        return super().__call__(x, use_running_average=not train)


def max_pool(
    x: jax.Array,
    window: int,
    stride: int,
    *,
    padding: Padding | int = "torch",
    ceil: bool = False,
) -> jax.Array:
    """`flax.linen.max_pool` for the arguments of `netzoo.layers.max_pool`."""
    pads = window_pads(x.shape[1:3], window, stride, padding, ceil)
    return nn.max_pool(x, (window, window), (stride, stride), pads)


gelu = nn.gelu


class Dropout(nn.Dropout):
    """`flax.linen.Dropout` with the `train` argument of netzoo's."""

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Drop elements like `netzoo.layers.Dropout`, but with different masks."""
        return super().__call__(x, deterministic=not train)


class MultiHeadAttention(nn.Module):
    """Self-attention by `flax.linen.dot_product_attention`, with the parameters of netzoo's."""

    num_heads: int
    dropout_rate: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, details: bool = False) -> jax.Array:
        """Map `[batch, length, width]` to the same shape; flax cannot return `details`."""
        assert not details
        *shape, width = x.shape
        heads = (*shape, self.num_heads, width // self.num_heads)
        dense = functools.partial(nn.Dense, width, dtype=self.dtype)
        projected = (dense(name=name)(x).reshape(heads) for name in ("query", "key", "value"))
        context = nn.dot_product_attention(
            *projected,
            dtype=self.dtype,
            dropout_rate=self.dropout_rate,
            dropout_rng=self.make_rng("dropout") if train and self.dropout_rate else None,
            deterministic=not train,
        )
        return dense(name="out")(context.reshape(x.shape))
