"""Crops, flips and resizing of uint8 RGB images `[H, W, 3]`; the caller's `rng` decides."""

import math

import cv2
import numpy as np
from PIL import Image

_CROP_ATTEMPTS = 10
_PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_LONGEST = 8  # times the shorter side: what a longer image has at its ends never reaches a crop
_FASTER_BY_AREA = 4.0  # shrinking by more would need a blur that costs more than INTER_AREA


def resize(image: np.ndarray, height: int, width: int, interpolation: str = "area") -> np.ndarray:
    """Resizes without aliasing; returns `image` itself where the size is right already.

    `"area"` treats each axis by the method that suits it. Shrinking averages over the area that
    falls into each new pixel (INTER_AREA): interpolation would look at a few source pixels only and
    alias the rest away. Growing has no such source pixels and interpolates (INTER_CUBIC), where
    INTER_AREA would repeat pixels in blocks. `"bilinear"` and `"bicubic"` are Pillow's, with
    antialiasing, which published weights were evaluated with.
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
    """Resizes for training: grows as `resize` does, and shrinks without aliasing at less cost.

    What would alias is blurred away before cubic interpolation. With linear interpolation the
    same blur would give the usual antialiasing filter, a triangle as wide as the shrinking asks;
    cubic interpolation is a little sharper.
    """
    down, across = image.shape[0] / height, image.shape[1] / width
    if max(down, across) > _FASTER_BY_AREA:
        return resize(image, height, width)
    if max(down, across) > 1:
        border = cv2.BORDER_REPLICATE  # as INTER_CUBIC has it
        image = cv2.sepFilter2D(image, -1, _blur(across), _blur(down), borderType=border)
    if (height, width) == image.shape[:2]:
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)


def _blur(factor: float) -> np.ndarray:
    """Returns weights of variance `(factor**2 - 1) / 6`; one weight where `factor` is below 1."""
    # The usual antialiasing filter has the variance factor**2 / 6, of which linear interpolation
    # brings 1/6. For a whole `factor`, weights that fall linearly to zero there have the rest;
    # between whole numbers the neighbouring triangles are mixed.
    narrow = max(1, math.floor(factor))
    share = max(0.0, factor**2 - narrow**2) / (2 * narrow + 1)
    distance = np.abs(np.arange(-narrow, narrow + 1))
    triangles = [np.maximum(0, side - distance) / side**2 for side in (narrow, narrow + 1)]
    return (1 - share) * triangles[0] + share * triangles[1]


def sample_crop(
    height: int,
    width: int,
    rng: np.random.Generator,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[int, int, int, int]:
    """Draws a rectangle within a `height` by `width` image (Szegedy et al. 2015, section 6).

    Its area, as a fraction of the image's, is uniform between the bounds `scale`, and the logarithm
    of its width over height is uniform between those of `ratio`. After ten draws that do not fit (a
    long image and a large area, say), the largest central rectangle of an allowed shape is taken.

    Returns:
      `(top, left, height, width)` in pixels.
    """
    log_ratio = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(_CROP_ATTEMPTS):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(*log_ratio))
        crop_width = max(1, round(math.sqrt(area * aspect)))
        crop_height = max(1, round(math.sqrt(area / aspect)))
        if crop_width <= width and crop_height <= height:
            top = int(rng.integers(height - crop_height + 1))
            left = int(rng.integers(width - crop_width + 1))
            return top, left, crop_height, crop_width
    aspect = min(max(width / height, ratio[0]), ratio[1])
    crop_width = min(width, max(1, round(height * aspect)))
    crop_height = min(height, max(1, round(width / aspect)))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def random_flip(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirrors the image left to right, half of the time; the result may share its memory."""
    return cv2.flip(image, 1) if rng.random() < 0.5 else image


def resize_and_center_crop(
    image: np.ndarray, size: int, crop_pct: float, interpolation: str = "area"
) -> np.ndarray:
    """Resizes the shorter side to `size / crop_pct` and keeps the central square, `size` wide.

    A `crop_pct` of 0.875 gives the usual 256 to 224.

    Raises:
      ValueError: `crop_pct` is not in (0, 1].
    """
    if not 0 < crop_pct <= 1:
        raise ValueError(f"expected a crop_pct in (0, 1], got {crop_pct}")
    # Cut before it is resized: enlarged whole, an image of 1 x 10,000 pixels takes gigabytes.
    image = image[tuple(map(_central, image.shape[:2], [_LONGEST * min(image.shape[:2])] * 2))]
    shorter = round(size / crop_pct)
    factor = shorter / min(image.shape[:2])
    height, width = (max(shorter, round(side * factor)) for side in image.shape[:2])
    resized = resize(image, height, width, interpolation)
    top, left = (height - size) // 2, (width - size) // 2
    return resized[top : top + size, left : left + size]


def _central(side: int, longest: int) -> slice:
    """Returns the middle `longest` pixels of a side, or one more, so that the centre stays."""
    cut = max(0, side - longest) // 2
    return slice(cut, side - cut)
