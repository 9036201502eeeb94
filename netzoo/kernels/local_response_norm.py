"""Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3).

The CPU implementation has its own gradient, for which it saves only the input. The native
implementation leaves the gradient to JAX.
"""

import jax
import jax.numpy as jnp

from netzoo.kernels.switch import backend


def local_response_norm(
    x: jax.Array,
    *,
    size: int = 5,
    k: float = 2.0,
    alpha: float = 1e-4,
    beta: float = 0.75,
    alpha_over_size: bool = False,
) -> jax.Array:
    """Divide every value by `(k + alpha * sum of squares) ** beta` over neighbouring channels.

    The computation is in float32, or in the dtype of `x` if that is wider; the result has the dtype
    of `x`.

    Args:
      x: `[..., channels]`.
      size: Number of channels in the sum. `size // 2` of them precede the value's channel; missing
        channels count as 0.
      k: Added to the sum: 2 in the paper, 1 in Caffe.
      alpha: Factor on the sum of squares.
      beta: Exponent.
      alpha_over_size: Whether to divide `alpha` by `size`, as Caffe and PyTorch do; the paper and
        TensorFlow do not.
    """
    if alpha_over_size:
        alpha = alpha / size
    normalize = _normalize_native if backend() != "cpu" else _normalize
    return normalize(x, size, k, alpha, beta)


def _normalize_native(x: jax.Array, size: int, k: float, alpha: float, beta: float) -> jax.Array:
    wide = _widen(x)
    _, factor = _denominator_and_factor(wide, size, k, alpha, beta)
    return (wide * factor).astype(x.dtype)


_normalize = jax.custom_vjp(_normalize_native, nondiff_argnums=(1, 2, 3, 4))


def _forward(x, size, k, alpha, beta):
    return _normalize_native(x, size, k, alpha, beta), x


def _backward(size, k, alpha, beta, x, dy):
    """Compute the gradient from `x` alone, with the window sums in one loop."""
    wide, dy_wide = _widen(x), _widen(dy)
    denominator, factor = _denominator_and_factor(wide, size, k, alpha, beta)
    # Channel i is in the window of channel j if j is in the mirrored window of i.
    others = _window_sum(dy_wide * wide * factor / denominator, size, mirrored=True)
    return ((dy_wide * factor - 2 * alpha * beta * wide * others).astype(x.dtype),)


_normalize.defvjp(_forward, _backward)


def _widen(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _denominator_and_factor(x, size, k, alpha, beta):
    """Return the denominator `k + alpha * sum of squares` and the factor `denominator**-beta`."""
    denominator = k + alpha * _window_sum(jnp.square(x), size)
    if beta != 0.75:
        return denominator, denominator**-beta
    root = jax.lax.rsqrt(denominator)  # avoids the slow general power for the usual exponent
    return denominator, root * jnp.sqrt(root)


def _window_sum(x: jax.Array, size: int, *, mirrored: bool = False) -> jax.Array:
    """Sum `size` neighbouring channels as shifted slices, which vectorise and fuse."""
    before = (size - 1) // 2 if mirrored else size // 2
    channels = x.shape[-1]
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(before, size - 1 - before)])
    first, *others = (padded[..., shift : shift + channels] for shift in range(size))
    return sum(others, first)
