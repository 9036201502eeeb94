"""What happens to a batch of images on the device: normalising and mixing."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

Mixed = tuple[jax.Array, jax.Array, jax.Array]


def normalize(images: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """Maps uint8 images to float32 of about unit variance.

    Args:
      images: `[..., 3]`.
      mean: Mean of red, green and blue, on the scale 0 to 255.
      std: Their standard deviations, on the same scale.
    """
    mean, std = (jnp.asarray(values, jnp.float32) for values in (mean, std))
    return (images.astype(jnp.float32) - mean) / std


def mixup(
    key: jax.Array, alpha: float, images: jax.Array, targets: jax.Array, labels: jax.Array
) -> Mixed:
    """Blends each example with the one at the mirror place of the batch.

    Args:
      key: Random key.
      alpha: Parameter of Beta(alpha, alpha), from which one weight is drawn for the batch.
      images: `[batch, height, width, channels]`.
      targets: Probabilities `[batch, classes]`.
      labels: `[batch]`.

    Returns:
      Blended images and targets, and for each example the label of its larger part.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", arXiv:1710.09412.
    """
    weight = jax.random.beta(key, alpha, alpha)

    def blend(x):
        return weight * x + (1 - weight) * x[::-1]

    return blend(images), blend(targets), jnp.where(weight >= 0.5, labels, labels[::-1])


def cutmix(
    key: jax.Array, alpha: float, images: jax.Array, targets: jax.Array, labels: jax.Array
) -> Mixed:
    """Pastes a box of the example at the mirror place of the batch into each example.

    The area of the box is the share that is drawn for the mirror example, and its centre is
    anywhere in the image. Parts outside the image are cut off, and labels mix by the area left.

    Args:
      key: Random key.
      alpha: Parameter of Beta(alpha, alpha), from which one share is drawn for the batch.
      images: `[batch, height, width, channels]`.
      targets: Probabilities `[batch, classes]`.
      labels: `[batch]`.

    Returns:
      Images and targets in the proportion of the areas, and for each example the label of its
      larger part.

    Source: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with
      Localizable Features", arXiv:1905.04899, section 3.1.
    """
    share_key, *center_keys = jax.random.split(key, 3)
    side = jnp.sqrt(1 - jax.random.beta(share_key, alpha, alpha))  # of the box, as a fraction

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


def mix(
    key: jax.Array, augment: ConfigDict, images: jax.Array, targets: jax.Array, labels: jax.Array
) -> Mixed:
    """Applies mixup or CutMix, as the configuration says; with both on, draws one for the batch.

    Args:
      key: Random key.
      augment: Section of the configuration with the alphas `mixup` and `cutmix`; 0 is off.
      images: See `mixup`.
      targets: See `mixup`.
      labels: See `mixup`.
    """
    methods = ((mixup, augment.mixup), (cutmix, augment.cutmix))
    mixed = [
        method(key, alpha, images, targets, labels) for method, alpha in methods if alpha > 0
    ] or [(images, targets, labels)]
    if len(mixed) == 1:
        return mixed[0]
    coin = jax.random.bernoulli(jax.random.fold_in(key, 1))
    return jax.tree.map(lambda *values: jnp.where(coin, *values), *mixed)
