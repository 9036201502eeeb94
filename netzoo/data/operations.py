"""Distortions of uint8 RGB images `[H, W, 3]`, each with an amount.

They are the operations of AutoAugment (Cubuk et al. 2018, arXiv:1805.09501, table 6) and a rotation
of hues. Most are look-up tables of 256 entries, and each geometric one is a single `warpAffine`, so
that an operation takes tens of microseconds at 128 px.
"""

from collections.abc import Callable

import cv2
import numpy as np

_FILL = (128, 128, 128)  # colour outside the image: mid-grey, as in AutoAugment's code
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
_RAMP = np.arange(256, dtype=np.float32)


def _look_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Replace every value by its entry in `table`, `[256]` or, by channel, `[256, 3]`."""
    table = np.clip(np.rint(table), 0, 255).astype(np.uint8)
    return cv2.LUT(image, table if table.ndim == 1 else table.reshape(1, 256, 3))


def _blend(base: np.ndarray, image: np.ndarray, amount: float) -> np.ndarray:
    """Move `image` away from `base`, or towards it if `amount` is negative."""
    factor = 1 + amount
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


def _autocontrast(image: np.ndarray, amount: float) -> np.ndarray:
    # Reduce over rows first: long contiguous rows vectorise, three-value pixels do not.
    low = image.min(axis=0).min(axis=0).astype(np.float32)
    high = image.max(axis=0).max(axis=0).astype(np.float32)
    flat = high <= low
    scale = 255 / np.where(flat, 255, high - low)
    return _look_up(image, _RAMP[:, None] * scale - np.where(flat, 0, low) * scale)


def _equalize(image: np.ndarray, amount: float) -> np.ndarray:
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


def _posterize(image: np.ndarray, amount: float) -> np.ndarray:
    return image & np.uint8((0xFF << round(abs(amount))) & 0xFF)


def _solarize(image: np.ndarray, amount: float) -> np.ndarray:
    return _look_up(image, np.where(256 - abs(amount) <= _RAMP, 255 - _RAMP, _RAMP))


def _color(image: np.ndarray, amount: float) -> np.ndarray:
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return _blend(grey, image, amount)


def _contrast(image: np.ndarray, amount: float) -> np.ndarray:
    mean = round(cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0])
    return _look_up(image, mean + (_RAMP - mean) * (1 + amount))


def _hue(image: np.ndarray, amount: float) -> np.ndarray:
    shift = round(256 * amount) % 256
    if shift == 0:
        return image
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)  # a turn of the hue is 256
    hsv[..., 0] += np.uint8(shift)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def _rotate(image: np.ndarray, amount: float) -> np.ndarray:
    height, width = image.shape[:2]
    centre = (width - 1) / 2, (height - 1) / 2
    return _warp(image, *cv2.getRotationMatrix2D(centre, amount, 1.0).flat)


# Where a negative amount has no meaning, its sign is ignored. Amount 0 changes nothing, except in
# the operations that need no amount.
OPERATIONS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "identity": lambda image, amount: image,
    # Stretches each channel so that its darkest value becomes 0 and its lightest 255.
    "autocontrast": _autocontrast,
    # Spreads each channel's values so that all occur about equally often.
    "equalize": _equalize,
    # Replaces every value by 255 minus the value.
    "invert": lambda image, amount: ~image,
    # Rotates about the centre, in degrees, anticlockwise.
    "rotate": _rotate,
    # Clears low bits of each value; the amount is their number.
    "posterize": _posterize,
    # Inverts values from 256 minus the amount upwards.
    "solarize": _solarize,
    # The next four multiply the difference from a base by 1 plus the amount. The bases are the grey
    # image, its mean, black, and the smoothed image.
    "color": _color,
    "contrast": _contrast,
    "brightness": lambda image, amount: _look_up(image, _RAMP * (1 + amount)),
    "sharpness": lambda image, amount: _blend(cv2.filter2D(image, -1, _SMOOTH), image, amount),
    # Rotates the hue, in turns; saturation and value (HSV) stay.
    "hue": _hue,
    # Shifts each row, or each column, by the amount times its distance from the first one.
    "shear_x": lambda image, amount: _warp(image, 1, amount, 0, 0, 1, 0),
    "shear_y": lambda image, amount: _warp(image, 1, 0, 0, amount, 1, 0),
    # Translates the image, in pixels, to the right or down.
    "translate_x": lambda image, amount: _warp(image, 1, 0, amount, 0, 1, 0),
    "translate_y": lambda image, amount: _warp(image, 1, 0, 0, 0, 1, amount),
}
