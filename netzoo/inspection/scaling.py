"""The size and the scale of maps."""

import numpy as np


def resized(maps: np.ndarray, size: int) -> np.ndarray:
    """Resize maps `[n, rows, columns]` bilinearly to `[n, size, size]`.

    Values stand at the centres of their cells; beyond the outermost centres, they are constant.
    """
    rows, columns = (_interpolation(side, size) for side in maps.shape[1:])
    return np.einsum("ri,bij,cj->brc", rows, maps, columns, optimize=True).astype(np.float32)


def _interpolation(old: int, new: int) -> np.ndarray:
    """Return `[new, old]` weights whose rows sum to 1."""
    places = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(old)))


def scaled(maps: np.ndarray) -> np.ndarray:
    """Divide each map of `[n, height, width]` by its largest value; maps of 0 stay."""
    largest = maps.max((1, 2), keepdims=True)
    return np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0)
