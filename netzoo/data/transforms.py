"""Crops, flips, erases and resizes uint8 RGB images `[H, W, 3]`."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from netzoo.config.rules import CROP_PCT

_BOX_ATTEMPTS = 10
_PILLOW = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "hamming": Image.Resampling.HAMMING,
}
_LONGEST = 8  # times the shorter side; the ends of a longer image never reach a crop
_FASTER_BY_AREA = 4.0  # beyond this factor, a blur is slower than INTER_AREA


def resize(image: np.ndarray, height: int, width: int, interpolation: str = "area") -> np.ndarray:
    """Resize without aliasing; return `image` itself if it already has the size.

    `"area"` selects the method for each axis. Shrinking averages the area of each new pixel
    (INTER_AREA), because interpolation reads few source pixels and aliases. Enlarging interpolates
    (INTER_CUBIC), because INTER_AREA would repeat pixels in blocks. `"bilinear"` and `"bicubic"`
    are Pillow's antialiased methods, with which published weights were evaluated; its `"hamming"`
    comes nearest to `"area"`.
    """
    if interpolation != "area" and (height, width) != image.shape[:2]:
        resized = Image.fromarray(image).resize((width, height), _PILLOW[interpolation])
        return np.asarray(resized)
    shrunk = min(height, image.shape[0]), min(width, image.shape[1])
    if shrunk != image.shape[:2]:
        image = cv2.resize(image, shrunk[::-1], interpolation=cv2.INTER_AREA)
    if (height, width) != image.shape[:2]:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    return image


def resize_fast(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize for training: enlarge as `resize` does, and shrink faster without aliasing.

    A blur before cubic interpolation prevents aliasing. With linear interpolation, the same blur
    would give the usual antialiasing filter, a triangle; cubic interpolation is slightly sharper.
    """
    down, across = image.shape[0] / height, image.shape[1] / width
    if max(down, across) > _FASTER_BY_AREA:
        return resize(image, height, width)
    if max(down, across) > 1:
        border = cv2.BORDER_REPLICATE  # as in INTER_CUBIC
        image = cv2.sepFilter2D(image, -1, _blur(across), _blur(down), borderType=border)
    if (height, width) == image.shape[:2]:
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)


def _blur(factor: float) -> np.ndarray:
    """Return weights of variance `(factor**2 - 1) / 6`; one weight if `factor` is below 1."""
    # The usual antialiasing filter has variance factor**2 / 6, and linear interpolation contributes
    # 1/6. For an integer `factor`, weights that fall linearly to 0 at `factor` have the remaining
    # variance; other factors get a mixture of the weights for the two neighbouring integers.
    narrow = max(1, math.floor(factor))
    share = max(0.0, factor**2 - narrow**2) / (2 * narrow + 1)
    # A list: NumPy's functions take several times as long for so few numbers.
    wide, distances = narrow + 1, map(abs, range(-narrow, narrow + 1))
    return np.array(
        [
            (1 - share) * (max(0, narrow - distance) / narrow**2)
            + share * (max(0, wide - distance) / wide**2)
            for distance in distances
        ]
    )


def sample_crop(
    height: int,
    width: int,
    rng: np.random.Generator,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[int, int, int, int]:
    """Draw a random rectangle inside a `height` by `width` image (Szegedy et al. 2015, section 6).

    Its area, as a fraction of the image area, is uniform in `scale`, and the logarithm of its
    aspect ratio (width over height) is uniform between the logarithms of the bounds in `ratio`.
    After ten draws that do not fit the image, the result is the largest central rectangle with an
    allowed aspect ratio.

    Returns:
      `(top, left, height, width)` in pixels.
    """
    if box := _sample_box(height, width, rng, scale, ratio):
        return box
    aspect = min(max(width / height, ratio[0]), ratio[1])
    crop_width = min(width, max(1, round(height * aspect)))
    crop_height = min(height, max(1, round(width / aspect)))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def _sample_box(
    height: int,
    width: int,
    rng: np.random.Generator,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[int, int, int, int] | None:
    """Return the first of ten random rectangles that fits the image, or None."""
    log_ratio = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(_BOX_ATTEMPTS):
        area = height * width * _uniform(rng, *scale)
        aspect = math.exp(_uniform(rng, *log_ratio))
        box_width = max(1, round(math.sqrt(area * aspect)))
        box_height = max(1, round(math.sqrt(area / aspect)))
        if box_width <= width and box_height <= height:
            top = int(rng.integers(height - box_height + 1))
            left = int(rng.integers(width - box_width + 1))
            return top, left, box_height, box_width
    return None


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Return the number of `rng.uniform(low, high)`, whose checks take several times as long."""
    return low + (high - low) * rng.random()


def random_flip(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirror the image left to right with probability 1/2; the result may share its memory."""
    return cv2.flip(image, 1) if rng.random() < 0.5 else image


def random_erase(
    image: np.ndarray,
    rng: np.random.Generator,
    probability: float,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    color: Sequence[float] | None = None,
) -> np.ndarray:
    """Fill a random rectangle with noise or a colour, with a probability.

    The bounds `scale` and `ratio` are those of `sample_crop`. If none of ten random rectangles fits
    into the image, it stays as it is. The result may be `image` itself.

    Args:
      image: uint8 `[H, W, 3]`.
      rng: The random generator.
      probability: Share of the images to change, 0 to 1.
      scale: Bounds of the rectangle's area, as fractions of the image area.
      ratio: Bounds of the rectangle's aspect ratio, width over height.
      color: Red, green and blue, 0 to 255; None draws each value uniformly from 0 to 255.

    Source: Zhong et al., "Random Erasing Data Augmentation", arXiv:1708.04896, section 3.2.
    """
    if rng.random() >= probability:
        return image
    box = _sample_box(image.shape[0], image.shape[1], rng, scale, ratio)
    if box is None:
        return image
    top, left, height, width = box
    image = image.copy()  # a cache may hold the given one
    erased = image[top : top + height, left : left + width]
    if color is None:
        erased[:] = rng.integers(256, size=erased.shape, dtype=np.uint8)
    else:
        erased[:] = np.rint(color)
    return image


def resize_and_center_crop(
    image: np.ndarray,
    size: int,
    crop_pct: float,
    interpolation: str = "area",
    crop_mode: str = "center",
) -> np.ndarray:
    """Resize the shorter side to `size / crop_pct`, and crop the central `size` x `size` square.

    A `crop_pct` of 0.875 gives the usual resize to 256 and crop to 224. With `"area"`, the longer
    side and the place of the crop are rounded to the nearest pixel; with Pillow's methods, they are
    rounded as in torchvision and timm, so that published weights see the same pixels. The
    `crop_mode` is timm's: `"center"` keeps the aspect ratio, and `"squash"` resizes both sides to
    `size / crop_pct`.

    Raises:
      ValueError: `crop_pct` is out of range.
    """
    if not CROP_PCT.holds(crop_pct):
        raise ValueError(f"expected a crop_pct of {CROP_PCT.wanted}, got {crop_pct}")
    shorter = round(size / crop_pct)
    if crop_mode == "squash":
        resized, start = resize(image, shorter, shorter, interpolation), round((shorter - size) / 2)
        return resized[start : start + size, start : start + size]
    # Crop before resizing: enlarging a whole image of 1 x 10,000 pixels takes gigabytes.
    image = image[tuple(map(_central, image.shape[:2], [_LONGEST * min(image.shape[:2])] * 2))]
    shortest = min(image.shape[:2])
    if interpolation == "area":
        factor = shorter / shortest
        height, width = (max(shorter, round(side * factor)) for side in image.shape[:2])
        top, left = (height - size) // 2, (width - size) // 2
    else:
        height, width = (int(shorter * side / shortest) for side in image.shape[:2])
        top, left = round((height - size) / 2), round((width - size) / 2)
    resized = resize(image, height, width, interpolation)
    return resized[top : top + size, left : left + size]


def _central(side: int, longest: int) -> slice:
    """Return the middle `longest` pixels of a side, plus one if needed to keep the centre."""
    cut = max(0, side - longest) // 2
    return slice(cut, side - cut)
