"""Drop path, also known as stochastic depth (Huang et al., arXiv:1603.09382)."""

import flax.linen as nn
import jax


class DropPath(nn.Module):
    """Drops the residual branch of whole examples in training and scales up the others.

    Attributes:
      rate: Share of the examples whose branch is dropped, in [0, 1).
    """

    rate: float

    @nn.compact
    def __call__(self, branch: jax.Array, *, train: bool) -> jax.Array:
        """Maps a residual branch `[batch, ...]` to the same shape; needs the key `dropout`."""
        dims = tuple(range(1, branch.ndim))
        return nn.Dropout(self.rate, broadcast_dims=dims, deterministic=not train)(branch)
