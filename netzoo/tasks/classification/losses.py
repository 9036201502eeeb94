"""The losses of image classification.

A loss of `LOSSES` takes the section `train` of the configuration, logits `[batch, classes]` and
targets `[batch, classes]` in [0, 1], smoothed and mixed. It returns the loss of each image,
`[batch]`, in nats. The losses of `netzoo.tasks.classification.config.SIGMOID_LOSSES` have one
logistic regression for each class and are averaged over the classes; the others have one softmax
over all classes.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

Loss = Callable[[ConfigDict, jax.Array, jax.Array], jax.Array]


def training_loss(
    config: ConfigDict,
    targets: jax.Array,
    taught: jax.Array | None,
    class_weights: np.ndarray | None,
    logits: jax.Array,
) -> jax.Array:
    """Return the mean of the loss `train.loss` over the images.

    `taught` are the probabilities of teachers (`netzoo.tasks.classification.distill`), or None.
    With `class_weights` `[classes]`, the loss of an image is multiplied by the weight of its class;
    in a mixed image, each class counts by its share. The mean divides by the number of images, not
    by the sum of their weights, so that the parts of a batch in gradient accumulation add up.
    """
    losses = LOSSES[config.train.loss](config.train, logits, targets)
    if class_weights is not None:
        smoothing = config.train.label_smoothing
        shares = (targets - smoothing / targets.shape[-1]) / (1 - smoothing)
        losses *= (shares * class_weights).sum(-1)
    loss = losses.mean()
    return loss if taught is None else distilled(config.distill, loss, logits, taught)


def cross_entropy(train: ConfigDict, logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Return the cross-entropy of the softmax."""
    del train
    return optax.softmax_cross_entropy(logits, targets)


def poly(train: ConfigDict, logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Return `cross-entropy + train.poly_epsilon * (1 - p)`, p the probability of the target.

    Source: Leng et al., "PolyLoss: A Polynomial Expansion Perspective of Classification Loss
      Functions", arXiv:2204.12511 (Poly-1).
    """
    return optax.losses.poly_loss_cross_entropy(logits, targets, epsilon=train.poly_epsilon)


def binary_cross_entropy(train: ConfigDict, logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Return the cross-entropy of each logistic regression.

    Targets above `train.bce_threshold` become 1 and all others 0: a mixed image has all of its
    classes. None keeps the targets.

    Source: Wightman et al., "ResNet strikes back", arXiv:2110.00476, section 2.2.
    """
    if train.bce_threshold is not None:
        targets = (targets > train.bce_threshold).astype(targets.dtype)
    return optax.sigmoid_binary_cross_entropy(logits, targets).mean(-1)


def focal(train: ConfigDict, logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Return the binary cross-entropy times `alpha_t * (1 - p_t) ** gamma`.

    p_t is the probability of the target, `p * t + (1 - p) * (1 - t)`. alpha_t is
    `alpha * t + (1 - alpha) * (1 - t)`, or 1 if `train.focal_alpha` is None.

    Source: Lin et al., "Focal Loss for Dense Object Detection", arXiv:1708.02002, section 3.2.
    """
    options = {"alpha": train.focal_alpha, "gamma": train.focal_gamma}
    return optax.sigmoid_focal_loss(logits, targets, **options).mean(-1)


def asymmetric(train: ConfigDict, logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Return `-t * q ** g * log(p) - (1 - t) * m ** h * log(1 - m)`.

    p is the probability of a class, q is 1 - p, and m is `max(p - train.asymmetric_margin, 0)`.
    `train.asymmetric_gammas` are the exponents g and h. Easy negatives (p below the margin) have
    neither loss nor gradient.

    Source: Ridnik et al., "Asymmetric Loss For Multi-Label Classification", arXiv:2009.14119,
      section 2.
    """
    (g, h), margin = train.asymmetric_gammas, train.asymmetric_margin
    log_p, log_q = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    m = jax.nn.sigmoid(logits) - margin
    counts = m > 0
    # The gradient of a power is infinite at 0, so replace m where it does not count.
    weight = jnp.where(counts, m, 0.5) ** h
    log_rest = jnp.logaddexp(log_q, jnp.log(margin)) if margin else log_q  # log(1 - m)
    negative = jnp.where(counts, weight * log_rest, 0)
    return -(targets * jnp.exp(g * log_q) * log_p + (1 - targets) * negative).mean(-1)


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "poly": poly,
    "binary_cross_entropy": binary_cross_entropy,
    "focal": focal,
    "asymmetric": asymmetric,
}


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
