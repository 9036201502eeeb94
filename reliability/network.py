"""A network of three layers, so that runs spend little time on computation."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from netzoo.layers import BatchNorm, Conv
from netzoo.models.registry import register


class Small(nn.Module):
    """A strided convolution with BatchNorm, dropout and a dense layer."""

    num_classes: int
    dropout_rate: float = 0.2
    norm_momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Map images `[batch, height, width, 3]` to float32 logits `[batch, num_classes]`."""
        x = Conv(256, 3, stride=4, dtype=self.dtype, name="conv")(images)
        x = nn.relu(BatchNorm(self.norm_momentum, dtype=self.dtype, name="norm")(x, train=train))
        x = x.reshape(x.shape[0], -1)
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return nn.Dense(self.num_classes, name="logits")(x)


register("reliability_small", Small)
