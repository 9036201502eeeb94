"""Lays a map over its image."""

import matplotlib
import numpy as np

from netzoo.errors import UserError

COLORS = "turbo"
LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue in grey (ITU-R BT.601)


def overlay(image: np.ndarray, heat: np.ndarray, opacity: float = 0.55) -> np.ndarray:
    """Lay a map over its image in colours from blue to red; red covers the image most.

    Args:
      image: uint8 `[height, width, 3]`.
      heat: `[height, width]` in 0 to 1.
      opacity: Opacity of red, 0 to 1; the image also loses this part of its own colours.

    Returns:
      uint8 `[height, width, 3]`.

    Raises:
      UserError: The sizes differ.
    """
    if image.shape[:2] != heat.shape:
        raise UserError(
            f"the map is {list(heat.shape)} and its image {list(image.shape)}; expected the same "
            "height and width"
        )
    # The ends of the colour map are almost black.
    colors = 255 * matplotlib.colormaps[COLORS](0.1 + 0.8 * heat)[..., :3]
    grey = image @ LUMA
    muted = image + opacity * (grey[..., None] - image)
    cover = opacity * (0.3 + 0.7 * heat[..., None])
    return (muted + cover * (colors - muted)).round().astype(np.uint8)
