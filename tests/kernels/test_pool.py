"""Pooling equals loops over windows, in every padding convention."""

import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.layers import adaptive_avg_pool, global_avg_pool, max_pool

# Height and width of the image, window, stride.
GEOMETRIES = [
    ((7, 8), 3, 2),
    ((6, 9), 2, 2),
    ((5, 10), 3, 3),
    ((13, 4), 3, 1),
    ((5, 7), 1, 2),
    ((11, 8), 5, 3),
]


def starts(length, window, stride, padding, ceil):
    """First pixels of all windows along an axis, negative within the padding before it."""
    if padding == "same":
        count = -(-length // stride)
        before = max((count - 1) * stride + window - length, 0) // 2
    else:
        before = (window - 1) // 2 if padding == "torch" else padding
        rest = length + 2 * before - window
        count = (-(-rest // stride) if ceil else rest // stride) + 1
        # PyTorch: no window starts after the image.
        count -= ceil and (count - 1) * stride - before >= length
    return [i * stride - before for i in range(count)]


def loop(x, window, stride, padding, ceil):
    """Take the largest pixel of the image in every window, one window at a time."""
    rows, columns = (starts(n, window, stride, padding, ceil) for n in x.shape[1:3])
    y = np.empty((x.shape[0], len(rows), len(columns), x.shape[3]))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            part = x[:, max(row, 0) : row + window, max(column, 0) : column + window]
            y[:, i, j] = part.max((1, 2))
    return y


def images(height, width):
    """All values are negative, so that padding with 0 would win."""
    return np.random.default_rng(0).uniform(-2, -1, (2, height, width, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding", "ceil"),
    [
        (*geometry, padding, ceil)
        for geometry in GEOMETRIES
        for padding in ("torch", "same", 0, 1)
        for ceil in (False, True)
        # SAME always rounds up; PyTorch rejects windows of padding alone.
        if not (padding == "same" and ceil) and not (padding == 1 and geometry[1] == 1)
    ],
)
def test_equals_the_loop(size, window, stride, padding, ceil):
    """Windows are those of the convention's library, and padding never wins."""
    x = images(*size)
    expected = loop(x, window, stride, padding, ceil)
    ours = max_pool(jnp.asarray(x), window, stride, padding=padding, ceil=ceil)
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_rounding_up_keeps_the_halves():
    """GoogLeNet's 112, 56, 28, 14 and 7 pixels come from 3x3 windows with stride 2 and no padding.

    Rounded down they would be 112, 55, 27, 13 and 6, as in AlexNet.
    """
    sizes = {True: [112], False: [112]}
    for ceil, seen in sizes.items():
        for _ in range(4):
            x = jnp.zeros((1, seen[-1], seen[-1], 1))
            seen.append(max_pool(x, 3, 2, padding=0, ceil=ceil).shape[1])
    assert sizes == {True: [112, 56, 28, 14, 7], False: [112, 55, 27, 13, 6]}


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (3, 3), (4, 7), (9, 6), (13, 31)])
@pytest.mark.parametrize("size", [3, 6])
def test_adaptive_average(shape, size):
    """Windows as in PyTorch, overlapping or repeated where they do not divide the image."""
    x = images(*shape)
    expected = np.empty((2, size, size, 3))
    edges = [
        [(int(np.floor(i * n / size)), int(np.ceil((i + 1) * n / size))) for i in range(size)]
        for n in shape
    ]
    for i, (top, bottom) in enumerate(edges[0]):
        for j, (left, right) in enumerate(edges[1]):
            expected[:, i, j] = x[:, top:bottom, left:right].mean((1, 2))
    np.testing.assert_allclose(adaptive_avg_pool(jnp.asarray(x), size), expected, rtol=1e-6)


def test_adaptive_average_of_the_right_size_is_the_image():
    """At the published image size, VGG and AlexNet skip adaptive pooling."""
    x = jnp.asarray(images(6, 6))
    assert adaptive_avg_pool(x, 6) is x


def test_half_precision_rounds_the_means_only():
    """Means of bfloat16 images use float32 weights."""
    x = jnp.full((1, 11, 11, 2), 3.0, jnp.bfloat16)
    np.testing.assert_array_equal(np.asarray(adaptive_avg_pool(x, 1), np.float32), 3.0)


def test_types():
    """Pools keep the dtype; global pooling returns at least float32."""
    x = jnp.asarray(images(6, 6), jnp.bfloat16)
    assert max_pool(x, 2, 2).dtype == adaptive_avg_pool(x, 4).dtype == jnp.bfloat16
    features = global_avg_pool(x)
    assert features.dtype == jnp.float32
    expected = np.asarray(x, np.float64).mean((1, 2))
    np.testing.assert_allclose(features, expected, rtol=1e-6)
