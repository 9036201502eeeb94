"""Cross-entropy of a linear classifier with many classes; on CPU, it never holds all logits.

When the classes are a vocabulary, the logits are by far the largest array of a step, and their loss
is memory-bound. The CPU implementation processes blocks of positions: it computes the logits,
losses and gradients of one block and discards its logits before the next. The native implementation
computes all logits at once, because blocks have not been measured on other devices.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from netzoo.kernels.switch import backend

# Logits in a block on CPU: 4 MiB in float32, which fits in a cache.
BLOCK_SIZE = 2**20


def classifier_cross_entropy(
    x: jax.Array,
    kernel: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    smoothing: float = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Return the summed, weighted cross-entropy of `x @ kernel`, and which predictions are correct.

    The targets are `(1 - smoothing) one_hot(labels) + smoothing / classes` (Szegedy et al.,
    arXiv:1512.00567, section 7). The gradients, with respect to `x` and `kernel` only, are computed
    together with the loss.

    Args:
      x: `[batch, length, width]`; the logits have its dtype.
      kernel: `[width, classes]`, with the dtype of `x`.
      labels: `[batch, length]`, integers below `classes`.
      weights: `[batch, length]`, 0 for positions to leave out.
      smoothing: Share of the target probability that is spread evenly over all classes.

    Returns:
      The sum in nats, a scalar in float32 or in the dtype of `x` if that is wider; and booleans
      `[batch, length]`, True where the label is the first class with the largest logit.
    """
    size = math.prod(labels.shape) * kernel.shape[1]
    blocks = math.ceil(size / BLOCK_SIZE) if backend() == "cpu" else 1
    return _cross_entropy(x, kernel, labels, weights, smoothing, blocks)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _cross_entropy(x, kernel, labels, weights, smoothing, blocks):
    def add(loss, block):
        x, labels, weights = block
        *_, losses, correct = _losses(x @ kernel, labels, smoothing)
        return loss + (weights * losses).sum(), correct

    zero = jnp.zeros((), jnp.promote_types(x.dtype, jnp.float32))
    loss, correct = lax.scan(add, zero, _divide(blocks, x, labels, weights))
    return loss, _join(correct, labels.shape[1])


def _forward(x, kernel, labels, weights, smoothing, blocks):
    def add(sums, block):
        loss, d_kernel = sums
        x, labels, weights = block
        exponentials, norm, losses, correct = _losses(x @ kernel, labels, smoothing)
        rest = smoothing / kernel.shape[1]
        is_label = jnp.arange(kernel.shape[1]) == labels[..., None]
        targets = jnp.where(is_label, 1 - smoothing + rest, rest)
        weight = weights[..., None]
        d_logits = (exponentials * (weight / norm) - weight * targets).astype(x.dtype)
        d_x = d_logits @ kernel.T
        d_kernel += lax.dot_general(x, d_logits, (((0, 1), (0, 1)), ((), ())))
        return (loss + (weights * losses).sum(), d_kernel), (correct, d_x)

    zeros = jnp.zeros((), jnp.promote_types(x.dtype, jnp.float32)), jnp.zeros_like(kernel)
    parts = _divide(blocks, x, labels, weights)
    (loss, d_kernel), (correct, d_x) = lax.scan(add, zeros, parts)
    length = labels.shape[1]
    return (loss, _join(correct, length)), (_join(d_x, length), d_kernel)


def _backward(smoothing, blocks, gradients, cotangents):
    del smoothing, blocks
    d_loss, _ = cotangents  # booleans have no gradient
    d_x, d_kernel = (d_loss.astype(gradient.dtype) * gradient for gradient in gradients)
    return d_x, d_kernel, None, None


_cross_entropy.defvjp(_forward, _backward)


def _losses(logits, labels, smoothing):
    """Return exponentials of the logits, their sum, the losses, and which labels are correct."""
    wide = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    # Subtracting the largest logit prevents overflow.
    largest = wide.max(-1, keepdims=True)
    exponentials = jnp.exp(wide - largest)
    norm = exponentials.sum(-1, keepdims=True)
    hit = jnp.take_along_axis(wide, labels[..., None], -1)
    losses = jnp.log(norm) + (1 - smoothing) * (largest - hit)
    if smoothing:
        losses += smoothing * (largest - wide.mean(-1, keepdims=True))
    # The index of the first maximum, like argmax, which XLA does not vectorise on CPU.
    classes = jnp.arange(wide.shape[-1])
    first = jnp.where(wide == largest, classes, wide.shape[-1]).min(-1)
    return exponentials, norm, losses[..., 0], first == labels


def _divide(blocks, *arrays):
    """Divide `[batch, length, ...]` into `[blocks, batch, positions, ...]`, padded with zeros.

    The blocks divide the positions because the batch is already divided among devices.
    """
    batch, length = arrays[0].shape[:2]
    positions = math.ceil(length / max(1, min(blocks, length)))
    blocks = math.ceil(length / positions)

    def divide(x):
        rest = x.shape[2:]
        x = jnp.pad(x, ((0, 0), (0, blocks * positions - length), *((0, 0) for _ in rest)))
        return jnp.moveaxis(x.reshape(batch, blocks, positions, *rest), 1, 0)

    return jax.tree.map(divide, arrays)


def _join(x, length):
    x = jnp.moveaxis(x, 0, 1)
    return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :length]
