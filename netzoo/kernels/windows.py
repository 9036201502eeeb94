"""Sliding windows as slices, which XLA's CPU backend vectorises and runs on all cores.

Depthwise convolution, grouped convolution and pooling share these functions. Along each axis, pixel
`stride * o + i * dilation - pad` of the image is tap `i` of window `o`.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from netzoo.kernels.padding import NO_PADS, Pads

Size = tuple[int, ...]  # along height and width


class Window(NamedTuple):
    """Stride, padding and dilation of a convolution or a pooling."""

    stride: int = 1  # pixels from window to window
    pads: Pads = NO_PADS  # pixels added before and after height and width
    dilation: int = 1  # pixels from tap to tap

    def output_size(self, size: Size, kernel: Size) -> Size:
        """Return the number of windows along height and width of images of `size`."""
        return tuple(
            (length + sum(pads) - self.dilation * (count - 1) - 1) // self.stride + 1
            for length, count, pads in zip(size, kernel, self.pads, strict=True)
        )


def _each_tap(kernel: Size) -> itertools.product:
    return itertools.product(*map(range, kernel))


def _tap(padded: jax.Array, i: int, j: int, size: Size, stride: int) -> jax.Array:
    """Take every `stride`-th pixel starting at `(i, j)`: `[..., H, W, C]` to `[..., *size, C]`."""
    rows = slice(i, i + (size[0] - 1) * stride + 1, stride)
    columns = slice(j, j + (size[1] - 1) * stride + 1, stride)
    return padded[..., rows, columns, :]


def taps(x: jax.Array, kernel: Size, window: Window, fill: float = 0.0) -> list[jax.Array]:
    """Return the pixels under every tap of a kernel, in row-major order, padded with `fill`.

    `x` is `[..., height, width, channels]`; each result is
    `[..., out_height, out_width, channels]`.
    """
    stride, pads, dilation = window
    padded = jnp.pad(x, (*((0, 0),) * (x.ndim - 3), *pads, (0, 0)), constant_values=fill)
    size = window.output_size(x.shape[-3:-1], kernel)
    return [_tap(padded, i * dilation, j * dilation, size, stride) for i, j in _each_tap(kernel)]


def add_taps(
    term: Callable[..., jax.Array],
    arrays: tuple[jax.Array, ...],
    size: Size,
    kernel: Size,
    window: Window,
) -> jax.Array:
    """Sum, for every pixel, the terms of all windows that contain it: the transpose of `taps`.

    Pixels are computed separately for each phase of the stride (row mod stride, column mod stride),
    so that no tap multiplies an inserted zero.

    Args:
      term: `term(i, j, *arrays)` returns what each window adds to the pixel at its tap `(i, j)`. It
        must be 0 where the arrays are 0.
      arrays: Values of each window, `[batch, out_height, out_width, channels]`.
      size: Height and width of the images to return.
      kernel: Taps along height and width.
      window: Stride, padding and dilation of the kernel.
    """
    stride, pads, dilation = window
    grid = tuple(-(-length // stride) for length in size)
    starts = [
        [
            [divmod(phase + before - i * dilation, stride) for i in range(count)]
            for phase in range(stride)
        ]
        for count, (before, _) in zip(kernel, pads, strict=True)
    ]
    # Zeros around the windows, for pixels that fewer windows contain.
    margins = []
    for axis, length in enumerate(arrays[0].shape[1:3]):
        firsts = [first for phase in starts[axis] for first, rest in phase if rest == 0]
        margins.append(
            (max(0, -min(firsts)), max(0, max(firsts) + grid[axis] - length)) if firsts else (0, 0)
        )
    padded = [jnp.pad(array, ((0, 0), *margins, (0, 0))) for array in arrays]
    zeros = jnp.zeros((arrays[0].shape[0], *grid, arrays[0].shape[-1]), arrays[0].dtype)

    def phase(a: int, b: int) -> jax.Array:
        terms = []
        for i, j in _each_tap(kernel):
            (row, row_rest), (column, column_rest) = starts[0][a][i], starts[1][b][j]
            if row_rest == column_rest == 0:
                at = (row + margins[0][0], column + margins[1][0])
                terms.append(term(i, j, *(_tap(array, *at, grid, 1) for array in padded)))
        return sum(terms[1:], terms[0]) if terms else zeros

    if stride == 1:
        return phase(0, 0)
    rows = [jnp.stack([phase(a, b) for b in range(stride)], axis=3) for a in range(stride)]
    full = jnp.stack(rows, axis=2)  # [batch, grid_h, stride, grid_w, stride, channels]
    full = full.reshape(full.shape[0], grid[0] * stride, grid[1] * stride, -1)
    return full[:, : size[0], : size[1]]
