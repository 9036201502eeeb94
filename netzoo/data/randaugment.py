"""RandAugment: random distortions of a common strength (Cubuk et al. 2019, arXiv:1909.13719).

The distortions and their ranges are those of AutoAugment (Cubuk et al. 2018, arXiv:1805.09501,
table 6). A single magnitude from 0 to 10 sets the strength of all distortions. Most are look-up
tables of 256 entries, and each geometric one is a single `warpAffine`, so that a layer takes tens
of microseconds at 128 px.
"""

from collections.abc import Callable

import cv2
import numpy as np

_ROTATE_DEGREES = 30.0
_SHEAR = 0.3
_TRANSLATE = 150 / 331  # AutoAugment translates 331 px images by up to 150 px
_ENHANCE = 0.9
_POSTERIZE_BITS = 4
_FILL = (128, 128, 128)  # colour outside the image: mid-grey, as in the authors' code
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
_RAMP = np.arange(256, dtype=np.float32)


def rand_augment(
    image: np.ndarray, rng: np.random.Generator, num_layers: int, magnitude: float
) -> np.ndarray:
    """Apply `num_layers` operations, drawn uniformly with replacement, to uint8 `[H, W, 3]`.

    `magnitude` is their strength, from 0 (little or no effect) to 10; the usual value is 9. The
    result may be `image` itself.
    """
    level = magnitude / 10
    operations = list(OPERATIONS.values())
    for choice in rng.integers(2 * len(operations), size=num_layers):
        operation, sign = divmod(int(choice), 2)
        image = operations[operation](image, level if sign else -level)
    return image


def _look_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Replace every value by its entry in `table`, `[256]` or, by channel, `[256, 3]`."""
    table = np.clip(np.rint(table), 0, 255).astype(np.uint8)
    return cv2.LUT(image, table if table.ndim == 1 else table.reshape(1, 256, 3))


def _blend(base: np.ndarray, image: np.ndarray, level: float) -> np.ndarray:
    """Move `image` away from `base`, or towards it if `level` is negative."""
    factor = 1 + _ENHANCE * level
    return cv2.addWeighted(image, factor, base, 1 - factor, 0)


def _warp(image: np.ndarray, *matrix: float) -> np.ndarray:
    """Warp by a row-major 2 x 3 matrix that maps points of `image` to points of the result."""
    return cv2.warpAffine(
        image,
        np.reshape(matrix, (2, 3)),
        (image.shape[1], image.shape[0]),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=_FILL,
    )


def _autocontrast(image: np.ndarray, level: float) -> np.ndarray:
    # Reduce over rows first: long contiguous rows vectorise, three-value pixels do not.
    low = image.min(axis=0).min(axis=0).astype(np.float32)
    high = image.max(axis=0).max(axis=0).astype(np.float32)
    flat = high <= low
    scale = 255 / np.where(flat, 255, high - low)
    return _look_up(image, _RAMP[:, None] * scale - np.where(flat, 0, low) * scale)


def _equalize(image: np.ndarray, level: float) -> np.ndarray:
    tables = []
    for channel in range(3):
        counts = cv2.calcHist([image], [channel], None, [256], [0, 256]).reshape(256)
        present = np.flatnonzero(counts)
        step = (counts.sum() - counts[present[-1]]) // 255
        if len(present) <= 1 or step == 0:
            tables.append(_RAMP)
            continue
        below = np.concatenate(([0], np.cumsum(counts)[:-1]))
        tables.append((below + step // 2) // step)
    return _look_up(image, np.stack(tables, axis=-1))


def _posterize(image: np.ndarray, level: float) -> np.ndarray:
    dropped = round(_POSTERIZE_BITS * abs(level))
    return image & np.uint8((0xFF << dropped) & 0xFF)


def _solarize(image: np.ndarray, level: float) -> np.ndarray:
    return _look_up(image, np.where(256 * (1 - abs(level)) <= _RAMP, 255 - _RAMP, _RAMP))


def _color(image: np.ndarray, level: float) -> np.ndarray:
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return _blend(grey, image, level)


def _contrast(image: np.ndarray, level: float) -> np.ndarray:
    mean = round(cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0])
    return _look_up(image, mean + (_RAMP - mean) * (1 + _ENHANCE * level))


def _rotate(image: np.ndarray, level: float) -> np.ndarray:
    height, width = image.shape[:2]
    centre = (width - 1) / 2, (height - 1) / 2
    return _warp(image, *cv2.getRotationMatrix2D(centre, _ROTATE_DEGREES * level, 1.0).flat)


# An operation takes the image and a level: the strength in [-1, 1] with a random sign. Operations
# without a direction use the absolute value.
OPERATIONS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "identity": lambda image, level: image,
    # Stretches each channel so that its darkest value becomes 0 and its lightest 255.
    "autocontrast": _autocontrast,
    # Spreads each channel's values so that all occur about equally often.
    "equalize": _equalize,
    # Rotates about the centre by up to 30 degrees either way.
    "rotate": _rotate,
    # Keeps the high bits of each value: 8 at level 0, 4 at level 1.
    "posterize": _posterize,
    # Inverts values from a threshold upwards: 256 (none) at level 0, 0 (all) at level 1.
    "solarize": _solarize,
    # The next four scale a difference by 0.1 to 1.9: from greyscale, from the mean grey, from
    # black, and from a smoothed image.
    "color": _color,
    "contrast": _contrast,
    "brightness": lambda image, level: _look_up(image, _RAMP * (1 + _ENHANCE * level)),
    "sharpness": lambda image, level: _blend(cv2.filter2D(image, -1, _SMOOTH), image, level),
    # Shifts each row in proportion to its height, or each column in proportion to its position.
    "shear_x": lambda image, level: _warp(image, 1, _SHEAR * level, 0, 0, 1, 0),
    "shear_y": lambda image, level: _warp(image, 1, 0, 0, _SHEAR * level, 1, 0),
    # Translates the image by up to 45 % of its width or height.
    "translate_x": lambda image, level: _warp(
        image, 1, 0, _TRANSLATE * level * image.shape[1], 0, 1, 0
    ),
    "translate_y": lambda image, level: _warp(
        image, 1, 0, 0, 0, 1, _TRANSLATE * level * image.shape[0]
    ),
}
