"""Deletion and insertion: the probability of a class while pixels change in the order of a map.

Petsiuk et al., "RISE", arXiv:1806.07421, section 4.3.
"""

from typing import NamedTuple

import numpy as np
import scipy.integrate
import scipy.ndimage

from netzoo.errors import UserError
from netzoo.inspection.attribution import mean_color
from netzoo.inspection.programs import (
    Classes,
    Images,
    checked_classes,
    checked_images,
    probabilities,
)
from netzoo.progress import track
from netzoo.tasks.classification.predictor import Predictor

_BLUR = 1 / 16  # standard deviation of the blur, as a share of the side of the image


class Curves(NamedTuple):
    """The probability of a class, while the pixels change in the order of a map."""

    shares: np.ndarray  # float64 [steps + 1], the share of changed pixels, 0 to 1
    deletion: np.ndarray  # float32 [n, steps + 1]: pixels get the mean colour
    insertion: np.ndarray  # float32 [n, steps + 1]: pixels of a blurred image get their own colour

    @property
    def deletion_area(self) -> np.ndarray:
        """The area under each deletion curve `[n]`; a smaller area means a better map."""
        return scipy.integrate.trapezoid(self.deletion, self.shares, axis=1)

    @property
    def insertion_area(self) -> np.ndarray:
        """The area under each insertion curve `[n]`; a larger area means a better map."""
        return scipy.integrate.trapezoid(self.insertion, self.shares, axis=1)


def deletion_and_insertion(
    predictor: Predictor,
    images: Images,
    maps: np.ndarray,
    classes: Classes = None,
    steps: int = 32,
) -> Curves:
    """Measure how well the values of maps order the pixels by their importance for a class.

    Args:
      predictor: The network with its preprocessing.
      images: Images from `predictor.preprocess`, uint8 `[height, width, 3]` each.
      maps: `[n, height, width]`; the order of equal values is that of the pixels.
      classes: Index or name of the class for each image; None for the most probable classes.
      steps: Number of equal parts in which the pixels change.

    Raises:
      UserError: A class is unknown, the images were not preprocessed, the maps have another shape,
        or `steps` is out of range.
    """
    pixels = checked_images(predictor, images)
    indices = checked_classes(predictor, pixels, classes)
    if maps.shape != pixels.shape[:3]:
        raise UserError(f"expected maps {list(pixels.shape[:3])}, got {list(maps.shape)}")
    size = predictor.preprocessing.crop_size
    if not 1 <= steps <= size * size:
        raise UserError(f"steps is {steps}; expected 1 to {size * size}, the number of pixels")
    shares = np.linspace(0, 1, steps + 1)
    counts = np.round(shares * size * size)
    curves = np.zeros((2, len(pixels), steps + 1), np.float32)
    for row in track(range(len(pixels)), "deleting and inserting pixels"):
        place = np.empty(size * size, int)  # of each pixel in the order of the map
        place[np.argsort(-maps[row], axis=None, kind="stable")] = np.arange(size * size)
        changed = place.reshape(size, size) < counts[:, None, None]
        image = pixels[row]
        blurred = scipy.ndimage.gaussian_filter(image, (_BLUR * size, _BLUR * size, 0))
        variants = (
            np.where(changed[..., None], mean_color(predictor), image),
            np.where(changed[..., None], image, blurred),
        )
        for curve, variant in zip(curves[:, row], variants, strict=True):
            curve[:] = probabilities(predictor, variant)[:, indices[row]]
    return Curves(shares, *curves)
