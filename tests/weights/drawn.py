"""Variables of random numbers, without compiling anything."""

import functools

import jax
import numpy as np

from netzoo.models import create_model, model_entry
from netzoo.models.summary import variable_shapes


@functools.cache
def shapes_of(model: str, num_classes: int = 7, image_size: int | None = None, **options):
    """Return a network and the shapes of its variables."""
    module = create_model(model, num_classes, **options)
    size = model_entry(model).image_size if image_size is None else image_size
    return module, variable_shapes(module, size)


def draw(shapes, seed: int = 0):
    """Return float32 arrays in [0, 1) of these shapes, no two alike."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.random(leaf.shape, np.float32), shapes)


def assert_identical(found, expected):
    """Assert that both trees have the same leaves, bit for bit."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for value, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert isinstance(value, np.ndarray)
        np.testing.assert_array_equal(value, wanted, strict=True)
