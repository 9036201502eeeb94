"""Paints synthetic photographs of flowers with NumPy: background, blooms, foreground, light.

Everything except the blooms (see `netzoo.data.sources.synthetic.shapes`) has the same distribution
for every class, so that background and light do not reveal the class.
"""

import functools
import math

import numpy as np
from numpy.random import Generator

from netzoo.data.sources.synthetic import shapes
from netzoo.data.sources.synthetic.shapes import Array, BloomGrid, Colours, over

IMAGE_SIZE = 96

Place = tuple[float, float, float]  # row, column and radius of a bloom

_BLOOMS = {  # seen from above
    "dandelion": shapes.dandelion,
    "daisy": shapes.daisy,
    "tulips": shapes.open_tulip,
    "sunflowers": shapes.sunflower,
    "roses": shapes.rose,
}

_ROWS, _COLUMNS = np.indices((IMAGE_SIZE, IMAGE_SIZE), np.float32)

_GROUNDS = {  # darkest and lightest colours of each background
    "grass": ((0.08, 0.2, 0.04), (0.45, 0.62, 0.2)),
    "soil": ((0.18, 0.11, 0.07), (0.55, 0.42, 0.3)),
    "sky": ((0.35, 0.55, 0.85), (0.85, 0.92, 0.98)),
    "shade": ((0.02, 0.03, 0.03), (0.25, 0.3, 0.25)),
    "wall": ((0.45, 0.4, 0.36), (0.85, 0.82, 0.78)),
}


@functools.cache
def _interpolation(knots: int) -> Array:
    """Return the matrix that interpolates `knots` values smoothly to IMAGE_SIZE positions."""
    position = np.linspace(0.0, knots - 1.0, IMAGE_SIZE)
    distance = np.abs(position[:, None] - np.arange(knots))
    weight = np.clip(1.0 - distance, 0.0, 1.0)
    return (weight**2 * (3.0 - 2.0 * weight)).astype(np.float32)


def _noise(rng: Generator, rows: int, columns: int) -> Array:
    """Return smooth noise in [0, 1] with the given number of knots along each axis."""
    knots = rng.random((rows, columns), np.float32)
    return _interpolation(rows) @ knots @ _interpolation(columns).T


def _around(row: float, column: float, extent: float) -> tuple[tuple[slice, slice], Array, Array]:
    """Return the window of pixels around a point, and their offsets down and right of it."""

    def window(centre: float) -> slice:
        low = int(np.clip(np.floor(centre - extent), 0, IMAGE_SIZE - 1))
        return slice(low, int(np.clip(np.ceil(centre + extent) + 1, low + 1, IMAGE_SIZE)))

    at = window(row), window(column)
    return at, _ROWS[at] - row, _COLUMNS[at] - column


def _background(rng: Generator) -> Array:
    """Paint noise between two colours, blades of grass and out-of-focus spots."""
    kind = str(rng.choice(list(_GROUNDS)))
    dark, light = (
        np.array(colour, np.float32) * rng.uniform(0.8, 1.15, 3).astype(np.float32)
        for colour in _GROUNDS[kind]
    )
    if kind == "grass":
        field = 0.6 * _noise(rng, int(rng.integers(3, 6)), int(rng.integers(16, 40)))
    elif kind == "soil":
        field = 0.35 * _noise(rng, 48, 48) + 0.3 * _noise(rng, 21, 21)
    else:
        field = 0.25 * _noise(rng, 9, 9)
    slope_row, slope_column = rng.uniform(-0.35, 0.35, 2) / IMAGE_SIZE
    field += 0.45 * _noise(rng, 4, 4) + slope_row * _ROWS + slope_column * _COLUMNS
    canvas = dark + np.clip(field, 0.0, 1.0)[..., None] * (light - dark)
    if rng.random() < 0.4:
        for _ in range(int(rng.integers(3, 9))):
            _spot(canvas, rng)
    return canvas


def _spot(canvas: Array, rng: Generator) -> None:
    """Paint an out-of-focus light or distant flower: a soft disk without structure."""
    row, column = rng.uniform(0, IMAGE_SIZE, 2)
    extent = rng.uniform(3.0, 12.0)
    at, down, right = _around(row, column, extent)
    softness = rng.uniform(1.5, 5.0)
    opacity = np.clip((extent - np.hypot(down, right)) / softness, 0.0, 1.0)
    opacity = opacity * rng.uniform(0.25, 0.75)
    names = list(shapes.PETAL_COLOURS)
    colour = np.array(shapes.PETAL_COLOURS[names[rng.integers(len(names))]], np.float32)
    canvas[at] = over(canvas[at], colour, opacity)


def _green(rng: Generator) -> Array:
    shade = rng.uniform(0.45, 1.1)
    return (np.array([rng.uniform(0.2, 0.45), 0.55, 0.16]) * shade).astype(np.float32)


def _stem(canvas: Array, rng: Generator, row: float, column: float, slope: float) -> None:
    """Paint a curved stalk from (row, column) to the bottom edge."""
    below = slice(int(np.clip(row, 0, IMAGE_SIZE - 1)), IMAGE_SIZE)
    fall = _ROWS[below] - np.float32(row)
    path = column + slope * fall + rng.uniform(-0.006, 0.006) * fall**2
    offset = (_COLUMNS[below] - path) / np.float32(rng.uniform(1.2, 2.4))
    opacity = np.clip(2.0 - 1.6 * np.abs(offset), 0.0, 1.0)
    shading = np.clip(0.85 - 0.25 * offset, 0.5, 1.1)
    canvas[below] = over(canvas[below], shading[..., None] * _green(rng), opacity)


def _leaf(canvas: Array, rng: Generator, row: float, column: float, size: float) -> None:
    """Paint a lance-shaped leaf with a midrib, centred at (row, column)."""
    at, down, right = _around(row, column, size)
    angle = rng.uniform(0.0, math.tau)
    along = (right * np.cos(angle) + down * np.sin(angle)).astype(np.float32)
    bend = rng.uniform(-0.4, 0.4) / size
    across = (down * np.cos(angle) - right * np.sin(angle) + bend * along**2).astype(np.float32)
    width = rng.uniform(0.14, 0.34) * size * np.clip(1.0 - (along / size) ** 2, 0.0, 1.0)
    opacity = np.clip(width - np.abs(across) + 0.5, 0.0, 1.0)
    tone = 0.85 + 0.2 * np.sign(across) * rng.uniform(-1.0, 1.0)
    tone += 0.3 * np.exp(-(across**2)) + 0.06 * np.cos(1.6 * (along - np.abs(across)))
    canvas[at] = over(canvas[at], tone[..., None] * _green(rng), opacity)


def _bloom(
    canvas: Array, rng: Generator, name: str, place: Place, colours: Colours, light: Array
) -> None:
    """Paint a flower of the class `name` with its stem."""
    row, column, size = place
    above = rng.random() < 0.15  # drawn for every class
    from_side = name == "tulips" and not above
    # A cup seen from the side is upright on its stem; all other blooms have any rotation.
    turn = rng.uniform(-0.6, 0.6) if from_side else rng.uniform(-np.pi, np.pi)
    squash = rng.uniform(0.85, 1.1) if from_side else rng.uniform(0.7, 1.0)
    squash_angle = 0.0 if from_side else rng.uniform(0.0, np.pi)
    slope = -np.tan(turn) if from_side else rng.uniform(-0.6, 0.6)
    if rng.random() < 0.85:
        _stem(canvas, rng, row, column, slope)
    at, down, right = _around(row, column, 1.12 * size)
    cos, sin = np.cos(squash_angle), np.sin(squash_angle)
    wide = (right * cos + down * sin) / (size * squash)
    high = (down * cos - right * sin) / size
    cos, sin = np.cos(turn), np.sin(turn)
    u = (wide * cos + high * sin).astype(np.float32)
    v = (wide * sin - high * cos).astype(np.float32)
    grid = BloomGrid(u, v, np.hypot(u, v), np.arctan2(v, u), 1.0 / size)
    draw = shapes.tulip if from_side else _BLOOMS[name]
    opacity, rgb = draw(grid, rng, colours)
    lit = 1.0 + (light[0] * down + light[1] * right) / size
    canvas[at] = over(canvas[at], rgb * lit[..., None].astype(np.float32), opacity)


def _places(rng: Generator) -> list[Place]:
    """Return row, column and radius of each bloom, the farthest (smallest) first."""
    count = int(rng.choice([1, 2, 3, 4], p=[0.55, 0.25, 0.12, 0.08]))
    biggest = (46.0, 32.0, 27.0, 24.0)[count - 1]
    sizes = np.sort(rng.uniform(0.75, 1.0, count) * biggest)
    if count == 1:
        margin = float(sizes[0]) * 0.8
        low, high = min(margin, 44.0), max(IMAGE_SIZE - margin, 52.0)
        return [(rng.uniform(low, high), rng.uniform(low, high), float(sizes[0]))]
    # Several blooms surround the middle, far enough apart to be recognisable.
    start = rng.uniform(0.0, math.tau)
    places = []
    for index, size in enumerate(sizes):
        angle = start + math.tau * index / count + rng.uniform(-0.3, 0.3)
        away = rng.uniform(21.0, 30.0)
        row, column = 48.0 + away * np.sin(angle), 48.0 + away * np.cos(angle)
        places.append((row, column, float(size)))
    return places


def _in_front(canvas: Array, rng: Generator, places: list[Place]) -> None:
    """Paint leaves and stalks that partly hide a bloom."""
    for _ in range(int(rng.integers(0, 3))):
        row, column, size = places[rng.integers(len(places))]
        angle = rng.uniform(0.0, math.tau)
        away = size * rng.uniform(0.8, 1.2)
        at_row, at_column = row + away * np.sin(angle), column + away * np.cos(angle)
        if rng.random() < 0.3:
            _stem(canvas, rng, at_row, at_column, rng.uniform(-0.5, 0.5))
        else:
            _leaf(canvas, rng, at_row, at_column, size * rng.uniform(0.4, 0.8))


def _photograph(canvas: Array, rng: Generator) -> Array:
    """Apply light from one side, exposure, colour cast, lens blur and noise; return uint8."""
    slope_row, slope_column = rng.uniform(-0.25, 0.25, 2) / IMAGE_SIZE
    exposure = np.exp(rng.uniform(-0.3, 0.3))
    light = exposure * (1.0 + slope_row * (_ROWS - 48.0) + slope_column * (_COLUMNS - 48.0))
    cast = rng.uniform(0.9, 1.1, 3)
    picture = canvas * (light[..., None] * cast).astype(np.float32)
    if rng.random() < 0.3:
        share = np.float32(rng.uniform(0.1, 0.25))
        picture[1:-1] += share * (picture[:-2] - 2.0 * picture[1:-1] + picture[2:])
        picture[:, 1:-1] += share * (picture[:, :-2] - 2.0 * picture[:, 1:-1] + picture[:, 2:])
    grain = rng.standard_normal(picture.shape, np.float32)
    picture += grain * np.float32(rng.uniform(0.003, 0.018))
    return (np.clip(picture, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def paint(name: str, rng: Generator) -> Array:
    """Paint one image of the class `name`, uint8 [IMAGE_SIZE, IMAGE_SIZE, 3].

    The image depends only on `name` and the state of `rng`.
    """
    canvas = _background(rng)
    places = _places(rng)
    for _ in range(int(rng.integers(0, 4))):
        row, column = rng.uniform(0, IMAGE_SIZE, 2)
        _leaf(canvas, rng, row, column, rng.uniform(14.0, 34.0))
    colours = shapes.petal_colours(name, rng)
    light = rng.uniform(-0.22, 0.22, 2)
    for place in places:
        _bloom(canvas, rng, name, place, colours, light)
    _in_front(canvas, rng, places)
    return _photograph(canvas, rng)
