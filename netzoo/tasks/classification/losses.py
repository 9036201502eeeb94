"""The loss of a training step of image classification."""

import jax
import optax
from ml_collections import ConfigDict


def training_loss(
    config: ConfigDict, targets: jax.Array, taught: jax.Array | None, logits: jax.Array
) -> jax.Array:
    """Return the mean loss of `logits` with smoothed and mixed `targets` `[batch, classes]`.

    `taught` are the probabilities of teachers (`netzoo.tasks.classification.distill`), or None.
    """
    if config.train.loss == "binary_cross_entropy":
        loss = binary_cross_entropy(logits, targets, config.train.bce_threshold)
    else:
        loss = optax.softmax_cross_entropy(logits, targets).mean()
    return loss if taught is None else distilled(config.distill, loss, logits, taught)


def binary_cross_entropy(
    logits: jax.Array, targets: jax.Array, threshold: float | None
) -> jax.Array:
    """Return the loss of one logistic regression per class, averaged over images and classes.

    Targets above `threshold` become 1 and all others 0: a mixed image has all of its classes. None
    keeps the targets.

    Source: Wightman et al., "ResNet strikes back", arXiv:2110.00476, section 2.2.
    """
    if threshold is not None:
        targets = (targets > threshold).astype(targets.dtype)
    return optax.sigmoid_binary_cross_entropy(logits, targets).mean()


def distilled(
    distill: ConfigDict, label_loss: jax.Array, logits: jax.Array, taught: jax.Array
) -> jax.Array:
    """Return `alpha * label_loss + (1 - alpha) * teacher_loss`.

    `taught` are `Teachers.probabilities`. The loss of a soft teacher is the Kullback-Leibler
    divergence from it at the temperature T, times T squared, which keeps the size of its gradients
    (Hinton et al., arXiv:1503.02531, section 2). The loss of a hard teacher is the cross-entropy
    with its most probable class (Touvron et al., arXiv:2012.12877, section 4).
    """
    if distill.kind == "hard":
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, taught.argmax(-1))
    else:
        log_p = jax.nn.log_softmax(logits / distill.temperature)
        losses = optax.kl_divergence(log_p, taught) * distill.temperature**2
    return distill.alpha * label_loss + (1 - distill.alpha) * losses.mean()
