"""Normalisation over the batch, with a hand-written backward pass, and over groups of channels.

Batch: Ioffe and Szegedy, arXiv:1502.03167. Group: Wu and He, arXiv:1803.08494.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalize_batch(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalises every channel by the mean and variance of the batch.

    Automatic differentiation would chain through mean and variance and pass over the activations
    seven times; by hand it is two sums forward, two backward, and one fused `a dy + b x + c`.
    The batch is two-dimensional because XLA's CPU backend reduces matrices at memory speed.

    Args:
      x: `[positions, channels]`.
      scale: `[channels]`, float32.
      bias: `[channels]`, float32.
      epsilon: Added to the variance.

    Returns:
      The normalised `[positions, channels]` in `x`'s dtype, and the batch's mean and (biased)
      variance `[channels]` in float32. Mean and variance carry no gradient: they only feed the
      running statistics.
    """
    return _normalize(x, scale, bias, epsilon)[0]


def _normalize(x, scale, bias, epsilon):
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = wide.mean(0)
    # From centred values: the mean of squares minus the squared mean cancels in float32.
    variance = jnp.square(wide - mean).mean(0)
    inverse = jax.lax.rsqrt(variance + epsilon)
    factor = scale * inverse
    y = wide * factor + (bias - mean * factor)
    return (y.astype(x.dtype), mean, variance), (x, scale, mean, inverse)


def _normalize_forward(x, scale, bias, epsilon):
    return _normalize(x, scale, bias, epsilon)


def _normalize_backward(epsilon, residuals, cotangents):
    del epsilon
    x, scale, mean, inverse = residuals
    dy = cotangents[0].astype(mean.dtype)
    wide = x.astype(mean.dtype)
    positions = x.shape[0]
    d_bias = dy.sum(0)
    d_scale = (dy * (wide - mean)).sum(0) * inverse
    a = scale * inverse
    b = -a * inverse * d_scale / positions
    c = -a * d_bias / positions - b * mean
    return (a * dy + b * wide + c).astype(x.dtype), d_scale, d_bias


normalize_batch.defvjp(_normalize_forward, _normalize_backward)


class BatchNorm(nn.Module):
    """Batch normalisation with the parameters and statistics of `flax.linen.BatchNorm`.

    Under `jax.jit` with a sharded batch the statistics are those of the global batch: the means
    are taken over the whole array, and XLA adds the communication.

    Attributes:
      momentum: Decay of the running statistics, `new = momentum * old + (1 - momentum) * batch`.
        This is one minus PyTorch's `momentum`. Statistics of short runs lag behind with the
        usual 0.99: 3,000 pictures make about 100 steps an epoch.
      epsilon: Added to the variance.
      dtype: Compute type; statistics and parameters stay float32.
      scale_init: Initializer of the scale.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: jnp.dtype = jnp.float32
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalises the last axis of `x` `[..., channels]`.

        With `train` the batch's statistics are used and, where `batch_stats` is mutable, mixed
        into the running ones; without it the running statistics are used and stay.
        """
        channels = x.shape[-1]
        scale = self.param("scale", self.scale_init, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
        x = x.astype(self.dtype)
        if not train:
            factor = scale * jax.lax.rsqrt(var.value + self.epsilon)
            y = x.astype(factor.dtype) * factor + (bias - mean.value * factor)
            return y.astype(self.dtype)
        flat = x.reshape(-1, channels)
        y, batch_mean, batch_var = normalize_batch(flat, scale, bias, self.epsilon)
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            mean.value = self.momentum * mean.value + (1 - self.momentum) * batch_mean
            var.value = self.momentum * var.value + (1 - self.momentum) * batch_var
        return y.reshape(x.shape)


class GroupNorm(nn.Module):
    """Group normalisation with the parameters of `flax.linen.GroupNorm`.

    Sums are taken over space first, channel by channel, which XLA's CPU backend does at memory
    speed, and put together for the groups after; `flax.linen.GroupNorm` reduces five-dimensional
    arrays.

    Attributes:
      num_groups: Groups that the channels are split into.
      epsilon: Added to the variance.
      dtype: Compute type; statistics and parameters stay float32.
      scale_init: Initializer of the scale.
    """

    num_groups: int
    epsilon: float = 1e-6
    dtype: jnp.dtype = jnp.float32
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises `[batch, ..., channels]`, every example and group by itself."""
        channels = x.shape[-1]
        scale = self.param("scale", self.scale_init, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        flat = x.reshape(len(x), -1, channels)
        wide = flat.astype(jnp.promote_types(self.dtype, jnp.float32))

        def group_means(values: jax.Array) -> jax.Array:
            """Means `[batch, positions, channels]` over positions and groups, for every channel."""
            groups = values.mean(1).reshape(len(x), self.num_groups, -1)
            return jnp.repeat(groups.mean(-1), channels // self.num_groups, axis=-1)

        mean = group_means(wide)
        variance = jnp.maximum(group_means(jnp.square(wide)) - jnp.square(mean), 0)
        factor = scale * jax.lax.rsqrt(variance + self.epsilon)
        y = wide * factor[:, None] + (bias - mean * factor)[:, None]
        return y.astype(self.dtype).reshape(x.shape)
