"""Cross-entropy with smoothed labels, for many classes (Szegedy et al., arXiv:1512.00567, 7)."""

import functools

import jax
import jax.numpy as jnp


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def smoothed_cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float) -> jax.Array:
    """Returns the cross-entropy against `(1 - smoothing) one_hot(labels) + smoothing / classes`.

    The targets are never written out, and the gradient, softmax minus targets, is one pass over
    the logits: where the classes are a vocabulary, these are the largest array of a step.

    Args:
      logits: `[..., classes]`.
      labels: `[...]`, integers below `classes`.
      smoothing: Share of the targets that all classes have alike, 0 for none.

    Returns:
      `[...]`, in nats, float32 or what is wider among the logits.
    """
    return _forward(logits, labels, smoothing)[0]


def _forward(logits, labels, smoothing):
    wide = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    # Differences from the largest, whose exponentials do not overflow.
    largest = wide.max(-1, keepdims=True)
    shifted = wide - largest
    log_sum = jnp.log(jnp.exp(shifted).sum(-1, keepdims=True))
    hit = jnp.take_along_axis(shifted, labels[..., None], -1)
    loss = log_sum - (1 - smoothing) * hit
    if smoothing:
        loss -= smoothing * shifted.mean(-1, keepdims=True)
    return loss[..., 0], (logits, labels, largest, log_sum)


def _backward(smoothing, residuals, d_loss):
    logits, labels, largest, log_sum = residuals
    classes = logits.shape[-1]
    softmax = jnp.exp(logits.astype(largest.dtype) - largest - log_sum)
    is_label = jnp.arange(classes) == labels[..., None]
    rest = smoothing / classes
    targets = jnp.where(is_label, 1 - smoothing + rest, rest)
    return (d_loss[..., None] * (softmax - targets)).astype(logits.dtype), None


smoothed_cross_entropy.defvjp(_forward, _backward)
