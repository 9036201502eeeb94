"""Convolution with `flax.linen.Conv`'s parameters, implemented separately for each backend."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from netzoo.kernels.conv import convolve
from netzoo.kernels.padding import Padding, Pads, spatial_padding
from netzoo.kernels.windows import Window


class Conv(nn.Module):
    """A two-dimensional convolution over `[batch, height, width, channels]`.

    The parameters are those of `flax.linen.Conv`: `kernel`
    `[kernel_size, kernel_size, channels / groups, features]` and, if `use_bias`, `bias`
    `[features]`.

    Attributes:
      features: Channels of the output.
      kernel_size: Taps along each spatial axis.
      stride: Step between output positions along each axis, in pixels.
      groups: Groups that the channels are split into.
      dilation: Distance between taps, in pixels.
      use_bias: Whether to add a bias.
      padding: Padding convention (see `netzoo.kernels.padding`), or the number of zeros before and
        after height and width.
      dtype: Compute dtype; parameters are float32.
      kernel_init: Initializer of the kernel.
      bias_init: Initializer of the bias.
    """

    features: int
    kernel_size: int
    stride: int = 1
    groups: int = 1
    dilation: int = 1
    use_bias: bool = False
    padding: Padding | Pads = "torch"
    dtype: jnp.dtype = jnp.float32
    # He et al. 2015 (arXiv:1502.01852) by fan-out, as torchvision initialises its networks.
    kernel_init: nn.initializers.Initializer = nn.initializers.variance_scaling(
        2.0, "fan_out", "normal"
    )
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, height, width, channels]` to `[batch, height', width', features]`."""
        channels = x.shape[-1]
        shape = (self.kernel_size, self.kernel_size, channels // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        kernel = self.transform(kernel).astype(self.dtype)
        y = self._convolve(x.astype(self.dtype), kernel)
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
            y = y + jax.lax.broadcast_to_rank(bias.astype(self.dtype), y.ndim)
        return y

    @nn.nowrap
    def transform(self, kernel: jax.Array) -> jax.Array:
        """Return the kernel of the convolution; subclasses may compute it from the parameter."""
        return kernel

    def _convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        pads = self.padding
        if isinstance(pads, str):
            pads = tuple(
                spatial_padding(size, self.kernel_size, self.stride, pads, self.dilation)
                for size in x.shape[1:3]
            )
        return convolve(x, kernel, Window(self.stride, pads, self.dilation), self.groups)
