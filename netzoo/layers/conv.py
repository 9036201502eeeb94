"""Convolution in the form the platform runs fastest, with `flax.linen.Conv`'s parameters."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from netzoo.kernels.dense_conv import dense_conv
from netzoo.kernels.depthwise_conv import depthwise_conv
from netzoo.kernels.grouped_conv import grouped_conv
from netzoo.kernels.im2col_conv import has_few_pixels, small_image_conv
from netzoo.kernels.padding import Padding, Pads, spatial_padding


class Conv(nn.Module):
    """A two-dimensional convolution over `[batch, height, width, channels]`.

    Parameters are those of `flax.linen.Conv`: `kernel`
    `[kernel_size, kernel_size, channels / groups, features]` and, on request, `bias`
    `[features]`. Some shapes take another road to the same result:

    * 1x1 is a product of two-dimensional matrices over every `stride`-th pixel. Through a
      four-dimensional contraction the gradient is several times slower on CPU, and through a
      strided convolution the kernel's gradient begins with a transposition of the images that
      takes ten times as long as the product.
    * images with fewer pixels than the kernel has taps go to `netzoo.kernels.im2col_conv`.
    * one group per channel goes to `netzoo.kernels.depthwise_conv`, several to
      `netzoo.kernels.grouped_conv`, a single one to `netzoo.kernels.dense_conv`.

    Attributes:
      features: Channels of the output.
      kernel_size: Taps along each spatial axis.
      stride: Step between output positions along each axis, in pixels.
      groups: Groups that the channels are split into.
      dilation: Distance between taps, in pixels.
      use_bias: Whether to add a bias.
      padding: Padding convention, see `netzoo.kernels.padding`, or the zeros before and after
        height and width.
      dtype: Compute type; parameters stay float32.
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
    # He et al. 2015 (arXiv:1502.01852) in the fan-out form that torchvision's networks start from.
    kernel_init: nn.initializers.Initializer = nn.initializers.variance_scaling(
        2.0, "fan_out", "normal"
    )
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[batch, height, width, channels]` to `[batch, height', width', features]`."""
        channels = x.shape[-1]
        shape = (self.kernel_size, self.kernel_size, channels // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32).astype(self.dtype)
        y = self._convolve(x.astype(self.dtype), kernel)
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
            y = y + bias.astype(self.dtype)
        return y

    def _convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        if self.kernel_size == self.groups == 1 and isinstance(self.padding, str):
            x = x[:, :: self.stride, :: self.stride]
            y = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
            return y.reshape(*x.shape[:-1], self.features)
        _, height, width, channels = x.shape
        pads = self.padding
        if isinstance(pads, str):
            pads = tuple(
                spatial_padding(size, self.kernel_size, self.stride, self.padding, self.dilation)
                for size in (height, width)
            )
        window = (self.stride, pads, self.dilation)
        if self.groups == channels == self.features:
            return depthwise_conv(x, kernel, *window)
        if self.groups > 1:
            return grouped_conv(x, kernel, *window, self.groups)
        few_pixels = has_few_pixels((height, width), self.kernel_size, *window)
        return (small_image_conv if few_pixels else dense_conv)(x, kernel, *window)
