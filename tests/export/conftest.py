"""A small classifier with BatchNorm, and images for it."""

import jax
import numpy as np
import pytest

import reliability.network  # noqa: F401  registers the network
from netzoo.export.check import Images
from netzoo.export.formats import FORMATS, installed_formats
from netzoo.models import create_model
from netzoo.models.summary import variable_shapes
from netzoo.tasks.classification.predictor import Predictor
from netzoo.weights.published import Preprocessing

PREPROCESSING = Preprocessing((120.0, 110.0, 100.0), (60.0, 50.0, 55.0), 36, 32, "area")
NAMES = ("daisy", "roses", "tulips")


def drawn(shapes, seed=0):
    """Return float32 variables that make every parameter matter."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        if path[-1].key in ("scale", "var"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        width = np.prod(leaf.shape[:-1]) ** -0.5 if path[-1].key == "kernel" else 0.1
        return (width * rng.normal(size=leaf.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def every_format(*fast):
    """Return all formats for a parametrized test; those outside `fast` are slow.

    LiteRT needs TensorFlow, which has hundreds of megabytes.
    """
    absent = [name for name in FORMATS if name not in installed_formats()]
    skip = pytest.mark.skipif(True, reason="the packages of the extra litert are not installed")
    return [
        pytest.param(
            name, marks=[skip] * (name in absent) + [pytest.mark.slow] * (name not in fast)
        )
        for name in FORMATS
    ]


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    """A network of three layers with a temperature."""
    model = create_model("reliability_small", num_classes=len(NAMES))
    variables = drawn(variable_shapes(model, PREPROCESSING.crop_size))
    return Predictor(model, variables, PREPROCESSING, NAMES, 8, temperature=2.0)


@pytest.fixture(scope="session")
def images() -> Images:
    """Six noisy images, already preprocessed."""
    size = PREPROCESSING.crop_size
    pixels = np.random.default_rng(1).integers(0, 256, (6, size, size, 3), np.uint8)
    return Images(pixels, [f"image {i}" for i in range(6)], "6 noisy images")
