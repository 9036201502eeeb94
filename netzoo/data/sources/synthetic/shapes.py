"""Shapes of the five synthetic flowers, as functions of a bloom's own coordinates.

Every bloom function takes a `BloomGrid` (the bloom's unit disk, sampled at the pixel centres) and
returns the bloom's opacity and colour at those pixels. The classes differ in shape and texture;
their colour palettes overlap.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

Array = np.ndarray
Bloom = tuple[Array, Array]  # opacity [H, W] and colour [H, W, 3]
Colours = tuple[Array, Array]  # of a petal at its base and at its tip

PETAL_COLOURS: dict[str, tuple[float, float, float]] = {
    "white": (0.96, 0.96, 0.94),
    "cream": (0.97, 0.92, 0.74),
    "yellow": (0.98, 0.86, 0.16),
    "gold": (0.98, 0.70, 0.08),
    "orange": (0.95, 0.48, 0.12),
    "red": (0.84, 0.12, 0.12),
    "pink": (0.95, 0.58, 0.70),
    "magenta": (0.82, 0.22, 0.52),
}

# Every colour appears in at least two classes, and every class has white or cream, yellow or gold,
# and pink or red, so that a colour histogram cannot identify the flower.
PALETTES: dict[str, dict[str, float]] = {
    "dandelion": {"yellow": 6, "gold": 3, "orange": 1, "white": 1, "cream": 1, "pink": 1},
    "daisy": {"white": 5, "cream": 2, "pink": 2, "yellow": 2, "magenta": 1},
    "tulips": {"red": 3, "pink": 2, "yellow": 2, "white": 1, "orange": 1, "magenta": 2},
    "sunflowers": {"yellow": 5, "gold": 4, "orange": 2, "cream": 1, "red": 1},
    "roses": {"red": 3, "pink": 3, "white": 2, "yellow": 1, "cream": 1, "magenta": 1},
}


@dataclass(frozen=True)
class BloomGrid:
    """Pixel centres in the coordinates of a bloom with radius 1.

    Attributes:
      u: Across the bloom, positive to its right.
      v: Along the bloom, positive towards its top.
      radius: Distance from the bloom's centre.
      angle: Polar angle, in [-pi, pi].
      pixel: Side of one pixel in these coordinates, which is the width of an antialiased edge.
    """

    u: Array
    v: Array
    radius: Array
    angle: Array
    pixel: float

    def edge(self, inside: Array) -> Array:
        """Return the opacity of the region where `inside`, a signed distance, is positive."""
        return np.clip(inside * np.float32(1.0 / self.pixel) + np.float32(0.5), 0.0, 1.0)


def petal_colours(name: str, rng: Generator) -> Colours:
    """Draw a base and a tip colour for the petals of one plant of the class `name`."""
    palette = PALETTES[name]
    names = list(palette)
    weights = np.array([palette[colour] for colour in names], np.float64)
    first, second = rng.choice(len(names), size=2, p=weights / weights.sum())
    tip = np.array(PETAL_COLOURS[names[first]]) * rng.uniform(0.85, 1.05, 3)
    other = np.array(PETAL_COLOURS[names[second]])
    # Most petals have one colour; the others blend halfway into a second colour.
    blend = rng.uniform(0.3, 0.7) if rng.random() < 0.3 else rng.uniform(0.0, 0.1)
    base = tip + blend * (other - tip)
    return base.astype(np.float32), tip.astype(np.float32)


def over(below: Array, above: Array, opacity: Array) -> Array:
    """Return `below` with `above` painted over it."""
    if below.ndim > opacity.ndim:
        opacity = opacity[..., None]
    return below + opacity * (above - below)


class _Petals:
    """Overlapping petals, the farthest first."""

    def __init__(self, grid: BloomGrid):
        self.opacity = self.tone = self.mix = np.zeros_like(grid.radius)

    def add(self, opacity: Array, tone: Array, mix: Array) -> None:
        """Add a petal on top, with its brightness and its share of the tip's colour."""
        self.tone = over(self.tone, tone, opacity)
        self.mix = over(self.mix, mix, opacity)
        self.opacity = np.maximum(self.opacity, opacity)

    def bloom(self, colours: Colours) -> Bloom:
        base, tip = colours
        return self.opacity, self.tone[..., None] * (base + self.mix[..., None] * (tip - base))


def _whorl(
    grid: BloomGrid,
    rng: Generator,
    count: int,
    reach: tuple[float, float],
    half_width: Callable[[Array], Array],
    jitter: float,
    twist: float = 0.0,
    phase: float | None = None,
) -> tuple[Array, Array, Array]:
    """Draw one ring of `count` petals.

    `reach` holds the distances of the bases and the tips from the centre; each petal is shorter by
    a random share of up to `jitter`. `half_width` maps the position along a petal to half its
    width. Petals bend by `twist` radians at the tip. `phase` is the angle of the first petal's
    edge, or random if None.

    Returns:
      The opacity, the position along the petal (0 at its base, 1 at its tip) and the position
      across it (-1 and 1 at its edges).
    """
    turn = (grid.angle + twist * grid.radius) * np.float32(count / math.tau)
    phase = rng.uniform(0.0, math.tau) if phase is None else phase
    turn = turn - np.float32(phase * count / math.tau)
    whole = np.floor(turn)
    petal = whole.astype(np.int32) % count
    inner, outer = reach
    length = (outer * (1.0 - jitter * rng.random(count))).astype(np.float32)[petal]
    along = np.clip((grid.radius - inner) / (length - inner), 0.0, 1.0)
    across = (turn - whole - np.float32(0.5)) * np.float32(math.tau / count) * grid.radius
    width = half_width(along)
    opacity = grid.edge(width - np.abs(across)) * grid.edge(length - grid.radius)
    return opacity, along, across / (width + np.float32(1e-3))


def _add_disk(bloom: Bloom, grid: BloomGrid, size: float, colour: Array, texture: Array) -> Bloom:
    """Draw a round disk of florets, darker towards its rim, over the petals."""
    opacity, rgb = bloom
    height = 1.0 - 0.45 * np.clip(grid.radius / size, 0.0, 1.2) ** 2
    alpha = grid.edge(size - grid.radius)
    return np.maximum(opacity, alpha), over(rgb, (height * texture)[..., None] * colour, alpha)


def daisy(grid: BloomGrid, rng: Generator, colours: Colours) -> Bloom:
    """Draw long, thin, separate ray petals around a small bright disk."""
    count = int(rng.integers(12, 20))
    size = rng.uniform(0.2, 0.29)
    widest = rng.uniform(0.52, 0.68) * np.pi / count

    def half_width(along: Array) -> Array:
        return np.float32(widest) * (0.5 + 0.5 * along) * np.sqrt(1.0 - along**8)

    petals = _Petals(grid)
    twist = rng.uniform(-0.15, 0.15)
    for layer_tone in (0.74, 1.0) if rng.random() < 0.5 else (1.0,):
        alpha, along, across = _whorl(grid, rng, count, (0.1, 1.0), half_width, 0.16, twist)
        petals.add(alpha, layer_tone * (1.0 - 0.18 * across**2), along)
    disk_colour = np.array([rng.uniform(0.82, 0.98), rng.uniform(0.55, 0.8), 0.1], np.float32)
    bumps = 0.9 + 0.14 * np.cos(42.0 * grid.u) * np.cos(42.0 * grid.v)
    return _add_disk(petals.bloom(colours), grid, size, disk_colour, bumps)


def sunflower(grid: BloomGrid, rng: Generator, colours: Colours) -> Bloom:
    """Draw broad, pointed petals in two whorls around a large dark disk of spirals."""
    count = int(rng.integers(13, 20))
    size = rng.uniform(0.43, 0.54)
    widest = rng.uniform(0.85, 1.0) * np.pi / count * 0.72

    def half_width(along: Array) -> Array:
        return np.float32(widest) * np.minimum(1.0, 1.9 * (1.0 - along)) * (0.8 + 0.2 * along)

    petals = _Petals(grid)
    for layer_tone, outer in ((0.7, 1.0), (1.0, 0.93)):
        alpha, along, across = _whorl(grid, rng, count, (0.25, outer), half_width, 0.12)
        petals.add(alpha, layer_tone * (0.82 + 0.18 * (1.0 - np.abs(across))), along)
    # The florets of a sunflower head look like 13 and 21 spirals in opposite directions.
    spiral = np.float32(7.0) * np.log(grid.radius + np.float32(0.08))
    florets = np.cos(13.0 * grid.angle + spiral) * np.cos(21.0 * grid.angle - spiral)
    ring = np.exp(-((grid.radius / size - 0.62) ** 2) * 40.0)
    brown = np.array([0.34, 0.2, 0.09], np.float32) * np.float32(rng.uniform(0.7, 1.2))
    texture = 1.0 + 0.55 * florets + rng.uniform(0, 1) * ring
    return _add_disk(petals.bloom(colours), grid, size, brown, texture)


def dandelion(grid: BloomGrid, rng: Generator, colours: Colours) -> Bloom:
    """Draw a head of many fine rays without a disk, or a seed head."""
    if rng.random() < 0.35:
        return _seed_head(grid, rng)
    petals = _Petals(grid)
    for outer, layer_tone in ((1.0, 0.74), (0.78, 0.86), (0.54, 0.98), (0.3, 0.95)):
        count = int(rng.integers(34, 46) * (0.45 + 0.55 * outer))
        widest = np.float32(0.95 * np.pi / count * outer)

        def half_width(along: Array, widest: np.float32 = widest) -> Array:
            return widest * np.sqrt(1.0 - along**6)

        alpha, along, across = _whorl(grid, rng, count, (0.0, outer), half_width, 0.3)
        rays = layer_tone * (0.6 + 0.4 * along) * (1.0 - 0.3 * np.minimum(np.abs(across), 1.0))
        petals.add(alpha, rays, np.float32(outer) * along)
    return petals.bloom(colours)


def _seed_head(grid: BloomGrid, rng: Generator) -> Bloom:
    """Draw a translucent ball of parachutes: thin spokes that end in tufts."""
    sphere = np.clip(1.0 - grid.radius**2, 0.0, 1.0)
    haze = grid.edge(1.0 - grid.radius) * (0.3 + 0.25 * (1.0 - np.sqrt(sphere)))
    hair = np.zeros_like(haze)
    for outer in (0.97, 0.76, 0.52):
        count = int(rng.integers(20, 28) * (0.3 + 0.7 * outer))

        def half_width(along: Array, outer: float = outer, count: int = count) -> Array:
            # A spoke is a hair that widens into the parachute in its last quarter.
            tuft = np.clip((along - 0.74) * 5.0, 0.0, 1.0)
            return 0.008 + np.float32(0.85 * np.pi / count * outer) * tuft

        alpha, along, across = _whorl(grid, rng, count, (0.0, outer), half_width, 0.1)
        hairs = 0.55 + 0.45 * np.cos(9.0 * across)
        hair = np.maximum(hair, alpha * np.where(along > 0.74, 0.9 * hairs, 0.6))
    core = grid.edge(rng.uniform(0.12, 0.2) - grid.radius)
    grey = np.array([0.9, 0.9, 0.87], np.float32) * np.float32(rng.uniform(0.85, 1.05))
    grey = grey * rng.uniform(0.93, 1.04, 3).astype(np.float32)
    # White hairs in a grey haze are visible against dark and bright backgrounds.
    rgb = (0.55 + 0.45 * hair)[..., None] * grey
    brown = np.array([0.42, 0.32, 0.2], np.float32)
    return np.maximum(np.maximum(haze, hair), core), over(rgb, brown, core)


def tulip(grid: BloomGrid, rng: Generator, colours: Colours) -> Bloom:
    """Draw a cup of few large overlapping petals from the side."""
    openness = rng.uniform(0.0, 0.5)
    waist = rng.uniform(0.4, 0.5)
    petals = _Petals(grid)
    # From back to front: the lean, the height and the brightness of each petal.
    layers = ((-0.3, 0.88, 0.6), (0.3, 0.9, 0.64), (-0.62, 0.95, 0.82), (0.62, 0.95, 0.86))
    for lean, top, layer_tone in (*layers, (rng.uniform(-0.15, 0.15), 0.78, 1.0)):
        top = top - rng.uniform(0.0, 0.14)
        height = np.clip((grid.v + 0.92) / (top + 0.92), 0.0, 1.0)
        centre = np.float32(lean) * (0.55 * np.sin(np.pi * 0.6 * height) + openness * height**3)
        width = np.float32(waist) * np.abs(np.sin(np.pi * height**0.75)) ** 0.8
        across = (grid.u - centre) / (width + np.float32(1e-3))
        # Without the limits in v, a petal of zero width would leave a hairline.
        alpha = grid.edge(width - np.abs(grid.u - centre)) * grid.edge(top - 0.02 - grid.v)
        alpha = alpha * grid.edge(grid.v + 0.9)
        rim = np.clip(1.0 - np.abs(across), 0.0, 1.0)
        veins = 0.05 * np.cos(14.0 * across) * height
        tone = layer_tone * (0.68 + 0.32 * np.minimum(1.0, 3.0 * rim) + veins)
        petals.add(alpha, tone - 0.16 * across * np.sign(lean) * (abs(lean) > 0.5), height)
    return petals.bloom(colours)


def open_tulip(grid: BloomGrid, rng: Generator, colours: Colours) -> Bloom:
    """Draw six large petals seen from above, with a dark star and stamens at the base."""

    def half_width(along: Array) -> Array:
        return np.float32(0.5) * np.sqrt(np.sqrt(along)) * np.sqrt(1.0 - along**5)

    petals = _Petals(grid)
    phase = rng.uniform(0.0, math.tau)
    # Three petals are behind, and three are in front of the gaps between them.
    for layer_tone, outer, turned in ((0.72, 1.0, phase), (1.0, 0.95, phase + math.tau / 6.0)):
        alpha, along, across = _whorl(grid, rng, 3, (-0.1, outer), half_width, 0.1, phase=turned)
        rim = np.clip(1.0 - np.abs(across), 0.0, 1.0)
        shade = 0.6 + 0.25 * along + 0.15 * np.minimum(1.0, 3.0 * rim) + 0.04 * np.cos(16 * across)
        petals.add(alpha, layer_tone * shade, along)
    opacity, rgb = petals.bloom(colours)
    rays = np.cos(6.0 * (grid.angle - phase))
    star = grid.edge(0.28 + 0.08 * rays - grid.radius)
    rgb = over(rgb, np.array([0.12, 0.1, 0.14], np.float32), 0.85 * star)
    stamens = grid.edge(0.05 - np.abs(grid.radius - 0.17)) * grid.edge(0.35 * rays)
    return opacity, over(rgb, np.array([0.85, 0.75, 0.35], np.float32), stamens)


def rose(grid: BloomGrid, rng: Generator, colours: Colours) -> Bloom:
    """Draw rounded petals that overlap in a spiral and close towards the centre."""
    layers = int(rng.integers(5, 7))
    petals = _Petals(grid)
    sense = 1.0 if rng.random() < 0.5 else -1.0
    phase = rng.uniform(0.0, math.tau)
    lean, lean_angle = rng.uniform(0.0, 0.1), rng.uniform(0.0, math.tau)
    drift = np.float32(lean) * np.cos(grid.angle - np.float32(lean_angle))
    for layer in range(layers):
        depth = layer / layers
        count = 5 if depth < 0.5 else 3
        reach = (1.0 - depth) ** 0.9 * 0.95
        phase += 2.4  # the golden angle, so that no petal is directly behind another
        turn = sense * (grid.angle + np.float32(phase)) * np.float32(count / math.tau)
        part = turn - np.floor(turn)
        lobe = np.sqrt(np.sqrt(np.clip(4.0 * part * (1.0 - part), 0.0, 1.0)))
        # Petals start under their neighbours and curve outwards, which forms the spiral.
        rim = np.float32(reach) * (0.74 + 0.2 * lobe + 0.1 * part)
        inside = rim - grid.radius - np.float32(depth) * drift
        near_rim = np.exp(-np.clip(inside, 0.0, None) * np.float32(9.0))
        tone = (1.06 - 0.2 * depth) * (0.5 + 0.5 * near_rim) * (0.7 + 0.3 * part)
        petals.add(grid.edge(inside), tone, 0.2 + 0.8 * near_rim)
    return petals.bloom(colours)
