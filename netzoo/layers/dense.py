"""A dense layer in the form that the backend runs fastest."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from netzoo.kernels.matmul import matmul


class Dense(nn.Module):
    """Computes the same as `flax.linen.Dense`.

    Attributes:
      features: Width of the output.
      dtype: Compute type; parameters stay float32.
      kernel_init: Initializer of the kernel.
      bias_init: Initializer of the bias.
    """

    features: int
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[..., width]` to `[..., features]`."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        y = matmul(x.astype(self.dtype), kernel.astype(self.dtype))
        return y + bias.astype(self.dtype)
