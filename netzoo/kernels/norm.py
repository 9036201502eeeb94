"""Normalisation by the statistics of the batch or of groups of channels.

Batch: Ioffe and Szegedy, arXiv:1502.03167. Group: Wu and He, arXiv:1803.08494. The CPU
implementations reshape images to matrices, which XLA's CPU backend reduces at memory speed; the
native implementations keep the shape of the images and leave the gradient to JAX, so that
forward-mode differentiation works.
"""

import functools
import math

import jax
import jax.numpy as jnp

from netzoo.kernels.switch import backend


def normalize_batch(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalise every channel by the mean and variance of the batch.

    The native implementation computes the variance as the mean of squares minus the squared mean,
    which reads the images once. The CPU implementation centres the values first, which is accurate
    for any mean.

    Returns:
      The normalised `x` `[..., channels]` in its dtype, and the batch's mean and biased variance
      `[channels]` in float32. No gradient flows through the returned mean and variance: they only
      update the running statistics.
    """
    if backend() != "cpu":
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        positions = tuple(range(x.ndim - 1))
        mean = wide.mean(positions)
        variance = jnp.maximum(jnp.square(wide).mean(positions) - jnp.square(mean), 0)
        y, _ = _scale_and_shift(wide, mean, variance, scale, bias, epsilon)
        return y.astype(x.dtype), jax.lax.stop_gradient(mean), jax.lax.stop_gradient(variance)
    flat = x.reshape(-1, x.shape[-1])
    y, mean, variance = _normalize_batch(flat, scale, bias, epsilon)
    return y.reshape(x.shape), mean, variance


# Automatic differentiation would read the images seven times. This function computes two sums
# forward, two sums backward, and one fused `a dy + b x + c`.
@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _normalize_batch(x, scale, bias, epsilon):
    return _forward(x, scale, bias, epsilon)[0]


def _forward(x, scale, bias, epsilon):
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    positions = tuple(range(x.ndim - 1))
    mean = wide.mean(positions)
    variance = jnp.square(wide - _over(x, mean)).mean(positions)
    y, inverse = _scale_and_shift(wide, mean, variance, scale, bias, epsilon)
    return (y.astype(x.dtype), mean, variance), (x, scale, mean, inverse)


def _scale_and_shift(x, mean, variance, scale, bias, epsilon):
    """Return the normalised `x`, and the inverse standard deviation."""
    inverse = jax.lax.rsqrt(variance + epsilon)
    factor = scale * inverse
    return x * _over(x, factor) + _over(x, bias - mean * factor), inverse


def _backward(epsilon, residuals, cotangents):
    del epsilon
    x, scale, mean, inverse = residuals
    dy = cotangents[0].astype(mean.dtype)
    wide = x.astype(mean.dtype)
    positions = tuple(range(x.ndim - 1))
    count = math.prod(x.shape[:-1])
    d_bias = dy.sum(positions)
    d_scale = (dy * (wide - _over(x, mean))).sum(positions) * inverse
    a = scale * inverse
    b = -a * inverse * d_scale / count
    c = -a * d_bias / count - b * mean
    d_x = _over(x, a) * dy + _over(x, b) * wide + _over(x, c)
    return d_x.astype(x.dtype), d_scale, d_bias


def _over(x: jax.Array, channels: jax.Array) -> jax.Array:
    """Add leading axes to an array of one value per channel, up to as many axes as `x` has."""
    return jax.lax.broadcast_to_rank(channels, x.ndim)


_normalize_batch.defvjp(_forward, _backward)


def normalize_groups(
    x: jax.Array, scale: jax.Array, bias: jax.Array, groups: int, epsilon: float
) -> jax.Array:
    """Normalise every example and group of channels by its own mean and variance.

    The images are `[batch, ..., channels]` in float32 or wider. The sums are taken over space for
    each channel, and then over the channels of each group.
    """
    shape = x.shape
    if backend() == "cpu":
        x = x.reshape(shape[0], -1, shape[-1])
    space = tuple(range(1, x.ndim - 1))

    def group_means(values: jax.Array) -> jax.Array:
        """Return the mean over space and group for every channel, `[batch, channels]`."""
        means = values.mean(space).reshape(shape[0], groups, -1)
        return jnp.repeat(means.mean(-1), shape[-1] // groups, axis=-1)

    mean = group_means(x)
    variance = jnp.maximum(group_means(jnp.square(x)) - jnp.square(mean), 0)
    factor = jax.lax.rsqrt(variance + epsilon)
    factor = _over(mean, scale) * factor
    offset = _over(mean, bias) - mean * factor
    y = x * jnp.expand_dims(factor, space) + jnp.expand_dims(offset, space)
    return y.reshape(shape)
