"""Reads the pixels of a written figure."""

import matplotlib.image
import numpy as np


def load(path):
    """Return a PNG as uint8 `[height, width, 3]`."""
    return (matplotlib.image.imread(path)[..., :3] * 255).round().astype(np.uint8)


def count(path, color):
    """Return the number of pixels of exactly this colour, `"#rrggbb"`."""
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return (load(path) == rgb).all(axis=-1).sum()
