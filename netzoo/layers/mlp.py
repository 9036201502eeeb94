"""The position-wise network of Transformers (Vaswani et al., arXiv:1706.03762, section 3.3)."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from netzoo.layers.dense import Dense
from netzoo.layers.dropout import Dropout


class Mlp(nn.Module):
    """Two dense layers, `expand` and `project`, with an activation between them.

    Attributes:
      mlp_dim: Width between the two layers.
      activation: Activation after `expand`.
      dropout_rate: Dropout rate after the activation.
      dtype: Compute dtype; parameters are float32.
      bias_init: Initializer of both biases.
    """

    mlp_dim: int
    activation: Callable[[jax.Array], jax.Array]
    dropout_rate: float = 0.0
    dtype: jnp.dtype = jnp.float32
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map `[..., width]` to `[..., width]`."""
        init = nn.initializers.xavier_uniform()
        dense = functools.partial(
            Dense, dtype=self.dtype, kernel_init=init, bias_init=self.bias_init
        )
        y = self.activation(dense(self.mlp_dim, name="expand")(x))
        y = Dropout(self.dropout_rate)(y, train=train)
        return dense(x.shape[-1], name="project")(y)
