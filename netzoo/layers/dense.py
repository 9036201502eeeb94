"""A dense layer, implemented separately for each backend."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from netzoo.kernels.matmul import matmul


class Dense(nn.Module):
    """Computes the same as `flax.linen.Dense`.

    Attributes:
      features: Width of the output.
      dtype: Compute dtype; parameters are float32.
      kernel_init: Initializer of the kernel.
      bias_init: Initializer of the bias; None for no bias.
    """

    features: int
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer | None = nn.initializers.zeros

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[..., width]` to `[..., features]`."""
        kernel, bias = self.parameters(x.shape[-1])
        y = matmul(x.astype(self.dtype), kernel)
        return y if bias is None else y + jax.lax.broadcast_to_rank(bias, y.ndim)

    @nn.compact
    def parameters(self, width: int) -> tuple[jax.Array, jax.Array | Any]:
        """Return kernel `[width, features]` and bias `[features]`, or None, in `dtype`."""
        shape = (width, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32).astype(self.dtype)
        if self.bias_init is None:
            return kernel, None
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        return kernel, bias.astype(self.dtype)
