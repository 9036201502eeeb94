"""Batch normalisation and group normalisation.

Batch: Ioffe and Szegedy, arXiv:1502.03167. Group: Wu and He, arXiv:1803.08494.
"""

import contextlib
import contextvars
import math
from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp

from netzoo.errors import UserError
from netzoo.kernels.norm import normalize_batch, normalize_groups

_GROUPS = contextvars.ContextVar("batch_norm_groups", default=1)


@contextlib.contextmanager
def batch_norm_groups(groups: int) -> Iterator[None]:
    """Take the statistics of every `BatchNorm` called inside the `with` block over groups.

    Each of the `groups` consecutive parts of a training batch is normalised by its own mean and
    variance (Hoffer et al., "ghost batch normalization", arXiv:1705.08741). If the number of
    devices divides `groups`, every device has whole groups, and no sum over devices stands between
    two layers. `groups` must divide the batch.
    """
    token = _GROUPS.set(groups)
    try:
        yield
    finally:
        _GROUPS.reset(token)


class BatchNorm(nn.Module):
    """Batch normalisation with the parameters and statistics of `flax.linen.BatchNorm`.

    Under `jax.jit` with a sharded batch, the statistics are those of the global batch: the means
    are over the whole array, and XLA adds the communication. `batch_norm_groups` divides the batch.

    Attributes:
      momentum: Decay of the running statistics, `new = momentum * old + (1 - momentum) * batch`.
        This is one minus PyTorch's `momentum`. The usual 0.99 lets the statistics lag behind in
        short runs: 3,000 images make about 100 steps per epoch.
      epsilon: Added to the variance.
      dtype: Compute dtype; statistics and parameters are float32.
      scale_init: Initializer of the scale.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: jnp.dtype = jnp.float32
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalise the last axis of `x` `[..., channels]`.

        With `train`, it uses the statistics of the batch and, if `batch_stats` is mutable, updates
        the running statistics, with the means over `batch_norm_groups`. Without `train`, it uses
        the running statistics.

        Raises:
          UserError: With `train`, a channel has only one value: its variance is 0, and so are all
            gradients.
        """
        channels = x.shape[-1]
        scale = self.param("scale", self.scale_init, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
        x = x.astype(self.dtype)
        if not train:
            factor = scale * jax.lax.rsqrt(var.value + self.epsilon)
            y = x.astype(factor.dtype) * jax.lax.broadcast_to_rank(factor, x.ndim)
            offset = bias - mean.value * factor
            return (y + jax.lax.broadcast_to_rank(offset, x.ndim)).astype(self.dtype)
        # A size that is not an integer is symbolic.
        positions = [size for size in x.shape[:-1] if isinstance(size, int)]
        if (
            len(positions) == x.ndim - 1
            and math.prod(positions) == _GROUPS.get()
            and not self.is_initializing()
        ):
            raise UserError(
                f"BatchNorm {'/'.join(self.path)} would train on one value per channel, {x.shape}; "
                "use a larger batch, larger images, fewer train.grad_accum_steps or fewer "
                "train.batch_norm_groups"
            )
        y, batch_mean, batch_var = _normalize_by_group(x, scale, bias, self.epsilon)
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            mean.value = self.momentum * mean.value + (1 - self.momentum) * batch_mean
            var.value = self.momentum * var.value + (1 - self.momentum) * batch_var
        return y


def _normalize_by_group(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return what `normalize_batch` returns, with the means of the groups' statistics."""
    groups = _GROUPS.get()
    if groups == 1:
        return normalize_batch(x, scale, bias, epsilon)
    parts = x.reshape(groups, -1, *x.shape[1:])
    y, mean, var = jax.vmap(lambda part: normalize_batch(part, scale, bias, epsilon))(parts)
    return y.reshape(x.shape), mean.mean(0), var.mean(0)


class GroupNorm(nn.Module):
    """Group normalisation with the parameters of `flax.linen.GroupNorm`.

    Attributes:
      num_groups: Groups that the channels are split into.
      epsilon: Added to the variance.
      dtype: Compute dtype; statistics and parameters are float32.
      scale_init: Initializer of the scale.
    """

    num_groups: int
    epsilon: float = 1e-6
    dtype: jnp.dtype = jnp.float32
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Normalise `[batch, ..., channels]` separately for every example and group.

        `train` has no effect; it lets `GroupNorm` replace `BatchNorm`.
        """
        del train
        channels = x.shape[-1]
        scale = self.param("scale", self.scale_init, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        wide = x.astype(jnp.promote_types(self.dtype, jnp.float32))
        y = normalize_groups(wide, scale, bias, self.num_groups, self.epsilon)
        return y.astype(self.dtype)
