"""Normalises and mixes batches of images on the device.

Mixing maps images `[batch, height, width, channels]`, targets (probabilities `[batch, classes]`)
and labels `[batch]` to the same shapes. The new label is that of the larger part of the image. The
partner of example i is example -1 - i of the batch. One weight per batch is drawn from Beta(alpha,
alpha).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

Mixed = tuple[jax.Array, jax.Array, jax.Array]


def normalize(images: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """Map uint8 images `[..., 3]` to float32 with about unit variance.

    `mean` and `std` are for red, green and blue in 0 to 255.
    """
    offset, scale = (jnp.asarray(values, jnp.float32) for values in (mean, std))
    return (images.astype(jnp.float32) - offset) / scale


def mixup(
    key: jax.Array, alpha: float, images: jax.Array, targets: jax.Array, labels: jax.Array
) -> Mixed:
    """Blend each example with its partner.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", arXiv:1710.09412.
    """
    weight = jax.random.beta(key, alpha, alpha)
    images, targets = (weight * x + (1 - weight) * x[::-1] for x in (images, targets))
    return images, targets, jnp.where(weight >= 0.5, labels, labels[::-1])


def cutmix(
    key: jax.Array, alpha: float, images: jax.Array, targets: jax.Array, labels: jax.Array
) -> Mixed:
    """Paste a box of the partner into each example.

    The area of the box, as a fraction of the image area, is the partner's weight. The centre of the
    box is uniform over the image. The box is clipped to the image, and targets mix by the clipped
    area.

    Source: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with
      Localizable Features", arXiv:1905.04899, section 3.1.
    """
    share_key, *center_keys = jax.random.split(key, 3)
    side = jnp.sqrt(1 - jax.random.beta(share_key, alpha, alpha))  # as a fraction of the image

    def inside(center_key: jax.Array, size: int) -> jax.Array:
        start = jax.random.randint(center_key, (), 0, size) - (side * size).astype(int) // 2
        place = jnp.arange(size)
        return (place >= start) & (place < start + (side * size).astype(int))

    rows, columns = map(inside, center_keys, images.shape[1:3])
    box = rows[:, None] & columns
    kept = 1 - box.mean()
    images = jnp.where(box[..., None], images[::-1], images)
    targets = kept * targets + (1 - kept) * targets[::-1]
    return images, targets, jnp.where(kept >= 0.5, labels, labels[::-1])


def mix(key: jax.Array, augment: ConfigDict, batch: Mixed) -> Mixed:
    """Apply mixup or CutMix if its alpha is not 0; if both are on, draw one for the batch.

    `augment.mixup_prob` is the probability that the batch is mixed at all, and
    `augment.mixup_switch_prob` that of CutMix if both are on.
    """
    methods = ((mixup, augment.mixup), (cutmix, augment.cutmix))
    results = [method(key, alpha, *batch) for method, alpha in methods if alpha > 0]
    if not results:
        return batch
    mixed = results[0]
    if len(results) == 2:
        mixed = _choose(key, 1, 1 - augment.mixup_switch_prob, *results)
    return mixed if augment.mixup_prob == 1 else _choose(key, 2, augment.mixup_prob, mixed, batch)


def _choose(key: jax.Array, draw: int, probability: float, first: Mixed, second: Mixed) -> Mixed:
    """Return `first` with a probability, else `second`."""
    coin = jax.random.bernoulli(jax.random.fold_in(key, draw), float(probability))
    return jax.tree.map(lambda *values: jnp.where(coin, *values), first, second)
