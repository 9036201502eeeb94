"""Attributions that need no layer: integrated gradients and occlusion.

Sundararajan et al., "Axiomatic Attribution for Deep Networks", arXiv:1703.01365, section 3; Zeiler
and Fergus, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901, section 4.2.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from netzoo.errors import UserError
from netzoo.inspection.programs import (
    Classes,
    Images,
    checked_classes,
    checked_images,
    compiled,
    normalized,
    padded_batches,
    probabilities,
)
from netzoo.progress import track
from netzoo.tasks.classification.predictor import Predictor

STEPS = 64
_PARTS = 8  # occluding squares along a side of the image


class IntegratedGradients(NamedTuple):
    """Attributions, which sum to the difference of the logits up to the error of the integral."""

    attributions: np.ndarray  # float32 [n, height, width, 3]
    difference: np.ndarray  # float32 [n], logit of the image minus logit of the baseline

    @property
    def error(self) -> np.ndarray:
        """The error of the integral, as a share of the sum of the absolute attributions."""
        values = self.attributions.astype(np.float64)
        wrong = abs(values.sum((1, 2, 3)) - self.difference)
        return wrong / np.maximum(abs(values).sum((1, 2, 3)), 1e-30)


def integrated_gradients(
    predictor: Predictor, images: Images, classes: Classes = None, steps: int = STEPS
) -> IntegratedGradients:
    """Attribute the logit of a class to the values of the pixels.

    The gradient is averaged along the straight line from the baseline, an image of the mean colour
    of the preprocessing, to the image, at the middle of `steps` equal parts.

    Args:
      predictor: The network with its preprocessing.
      images: Images from `predictor.preprocess`, uint8 `[height, width, 3]` each.
      classes: Index or name of the class for each image; None for the most probable classes.
      steps: Evaluations of the gradient per image.

    Raises:
      UserError: A class is unknown, the images were not preprocessed, or `steps` is below 1.
    """
    if steps < 1:
        raise UserError(f"steps is {steps}; expected at least 1")
    pixels = checked_images(predictor, images)
    indices = checked_classes(predictor, pixels, classes)
    model, normalize = predictor.model, normalized(predictor)

    def logit(variables, image, classes):
        logits = model.apply(variables, image, train=False)
        return jnp.take_along_axis(logits, classes[:, None], axis=1)[:, 0]

    def slopes(variables, pixels, classes, share):
        # The baseline is 0 after normalisation.
        def total(image):
            return logit(variables, image, classes).sum()

        return jax.grad(total)(share * normalize(pixels))

    def difference(variables, pixels, classes):
        image = normalize(pixels)
        return logit(variables, image, classes) - logit(variables, 0 * image, classes)

    gradient = compiled(predictor, "integrated gradients", slopes)
    change = compiled(predictor, "difference of logits", difference)
    found = np.zeros(pixels.shape, np.float32)
    changes = np.zeros(len(pixels), np.float32)
    batches = list(padded_batches(predictor, pixels, indices))
    work = itertools.product(batches, range(steps))
    for (first, count, batch), step in track(list(work), "integrating gradients"):
        share = np.float32((step + 0.5) / steps)
        found[first : first + count] += gradient(predictor.variables, *batch, share)[:count]
    for first, count, batch in batches:
        changes[first : first + count] = change(predictor.variables, *batch)[:count]
    found *= predictor.preprocessing.normalize(pixels) / steps
    return IntegratedGradients(found, changes)


def occlusion(
    predictor: Predictor,
    images: Images,
    classes: Classes = None,
    patch: int | None = None,
    stride: int | None = None,
) -> np.ndarray:
    """Return how much the probability of a class falls if a region of the image is covered.

    A square of the mean colour covers one region after another. The value of a pixel is the mean
    fall over the squares that cover the pixel.

    Args:
      predictor: See `integrated_gradients`.
      images: See `integrated_gradients`.
      classes: See `integrated_gradients`.
      patch: Side of the square in pixels; None for an eighth of the image, at least 1.
      stride: Pixels from one square to the next; None for half of `patch`.

    Returns:
      float32 `[n, height, width]`, in -1 to 1; below 0 where the covered image is more certain.

    Raises:
      UserError: A class is unknown, the images were not preprocessed, or a size is out of range.
    """
    pixels = checked_images(predictor, images)
    indices = checked_classes(predictor, pixels, classes)
    size = predictor.preprocessing.crop_size
    patch = max(size // _PARTS, 1) if patch is None else patch
    stride = max(patch // 2, 1) if stride is None else stride
    if not (1 <= patch <= size and 1 <= stride <= patch):
        raise UserError(
            f"patch is {patch} and stride {stride}; expected 1 <= stride <= patch <= {size}, the "
            "side of the image, so that the squares cover every pixel"
        )
    # The last square ends at the edge.
    starts = [*range(0, size - patch, stride), size - patch]
    places = list(itertools.product(starts, starts))
    color = mean_color(predictor)
    falls, covers = np.zeros(pixels.shape[:3], np.float64), np.zeros((size, size))
    for top, left in places:
        covers[top : top + patch, left : left + patch] += 1
    whole = probabilities(predictor, pixels)
    parts = [
        places[i : i + predictor.batch_size] for i in range(0, len(places), predictor.batch_size)
    ]
    work = list(itertools.product(range(len(pixels)), parts))
    for row, part in track(work, "covering places"):
        covered = np.repeat(pixels[row][None], len(part), axis=0)
        for image, (top, left) in zip(covered, part, strict=True):
            image[top : top + patch, left : left + patch] = color
        shares = predictor.probabilities(list(covered))[:, indices[row]]
        for share, (top, left) in zip(shares, part, strict=True):
            square = np.s_[row, top : top + patch, left : left + patch]
            falls[square] += whole[row, indices[row]] - share
    return (falls / covers).astype(np.float32)


def mean_color(predictor: Predictor) -> np.ndarray:
    """Return the mean colour of the preprocessing, uint8 `[3]`."""
    return np.clip(np.round(predictor.preprocessing.mean), 0, 255).astype(np.uint8)
