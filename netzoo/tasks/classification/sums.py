"""The sums of a batch that determine all metrics; see `netzoo.tasks.classification.metrics`."""

import jax
import jax.numpy as jnp
import optax
from chex import ArrayTree


def batch_sums(logits: jax.Array, batch: ArrayTree, top_k: int) -> ArrayTree:
    """Return the sums over the unmasked examples of a batch; logits are `[batch, classes]`."""
    classes, mask, labels = logits.shape[-1], batch["mask"], batch["label"]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    _, best = jax.lax.top_k(logits, top_k)
    cells = labels * classes + logits.argmax(-1)
    confusion = jnp.zeros(classes * classes, jnp.int32).at[cells].add(mask.astype(jnp.int32))
    return {
        "confusion": confusion.reshape(classes, classes),
        "topk_correct": ((best == labels[:, None]).any(-1) & mask).sum(),
        "loss_sum": jnp.where(mask, losses, 0).sum(),
        "count": mask.sum(),
    }
