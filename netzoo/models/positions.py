"""Position embeddings of a Vision Transformer for images of another size."""

import math

import numpy as np

from netzoo.errors import UserError


def resize_position_embedding(
    embedding: np.ndarray, grid: tuple[int, int], other_tokens: int
) -> np.ndarray:
    """Interpolate a position embedding to another grid of patches, except for the other tokens.

    The interpolation is bilinear with aligned corners, as in the authors' code for fine-tuning at
    another size (section 3.2). timm instead uses antialiased bicubic interpolation.

    The function maps `[1, positions, width]` of a square grid, in row-major order, to
    `[1, other_tokens + rows * columns, width]` in the same dtype. `grid` has the numbers of rows
    and columns. The first `other_tokens` positions are those of the class token and of registers.

    Raises:
      UserError: The positions do not form a square.
    """
    embedding = np.asarray(embedding)
    others, patches = np.split(embedding[0], [other_tokens])
    side = math.isqrt(len(patches))
    if side * side != len(patches):
        raise UserError(
            f"a position embedding of {len(patches)} patches is not a square grid; "
            "only those of square images can be resized"
        )
    rows, columns = (_interpolation(side, size) for size in grid)
    old = patches.astype(np.float64).reshape(side, side, -1)
    resized = np.einsum("ri,cj,ijd->rcd", rows, columns, old)
    resized = resized.reshape(-1, embedding.shape[-1]).astype(embedding.dtype)
    return np.concatenate([others, resized])[None]


def _interpolation(old: int, new: int) -> np.ndarray:
    """Return `[new, old]` weights; row `i` interpolates at `i * (old - 1) / (new - 1)`."""
    places = np.linspace(0, old - 1, new)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(old)))
