"""What happens to a batch of images on the device: normalising and mixing."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


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
) -> tuple[jax.Array, jax.Array, jax.Array]:
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
