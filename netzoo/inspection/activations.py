"""What layers compute: feature maps, and the distribution of activations by depth."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from netzoo.inspection.layers import default_layer, find_layer, with_grid
from netzoo.inspection.programs import (
    MOST_IMAGES,
    Images,
    checked_images,
    compiled,
    layers_of,
    normalized,
    padded_batches,
)
from netzoo.layers import ENDPOINTS
from netzoo.models.endpoint_shapes import WEIGHTS, Layer
from netzoo.tasks.classification.predictor import Predictor

_STRIDE = 4  # largest stride of the default layer in pixels, if there is such a layer
BINS = 60
_RANGE = 4.0  # half the width of a histogram, in standard deviations around 0


class Histogram(NamedTuple):
    """The distribution of the activations of a layer."""

    counts: np.ndarray  # int64 [bins]; the outermost bins include all values beyond
    edges: np.ndarray  # float64 [bins + 1]
    mean: float
    deviation: float
    zeros: float  # share of activations that are exactly 0, such as those behind a ReLU


def feature_maps(predictor: Predictor, images: Images, layer: str | None = None) -> np.ndarray:
    """Return the activations of a layer on its grid.

    Args:
      predictor: The network with its preprocessing.
      images: Images from `predictor.preprocess`, uint8 `[height, width, 3]` each.
      layer: The endpoint; None for `feature_layer`.

    Returns:
      float32 `[n, rows, columns, channels]`; tokens are brought to the grid of their patches.

    Raises:
      UserError: The layer is unknown or has no grid, or the images were not preprocessed.
    """
    layers = layers_of(predictor)
    size = predictor.preprocessing.crop_size
    chosen = feature_layer(layers, size) if layer is None else find_layer(layers, layer)
    [values] = _activations(predictor, images, [chosen])
    return np.asarray(chosen.on_grid(jnp.asarray(values)))


def feature_layer(layers: Sequence[Layer], image_size: int) -> Layer:
    """Return the last layer with a stride of at most 4 pixels, or the default of Grad-CAM."""
    fine = [x for x in with_grid(layers) if x.grid and _STRIDE * x.grid[0] >= image_size]
    return fine[-1] if fine else default_layer(layers)


def activation_histograms(
    predictor: Predictor, images: Images, bins: int = BINS
) -> dict[str, Histogram]:
    """Return the distribution of the activations of every block over images.

    Args:
      predictor: The network with its preprocessing.
      images: Images from `predictor.preprocess`. Only the first 32 are used, to limit the memory.
      bins: Number of bins.

    Returns:
      Histograms by the names of layers, in the order of computation.

    Raises:
      UserError: The images were not preprocessed.
    """
    inner = ("attention", "mlp", WEIGHTS)
    layers = [layer for layer in layers_of(predictor) if not layer.name.endswith(inner)]
    found = {}
    for layer, values in zip(
        layers, _activations(predictor, images[:MOST_IMAGES], layers), strict=True
    ):
        limit = max(_RANGE * float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))), 1e-30)
        clipped = np.clip(values, -limit, limit)
        counts, edges = np.histogram(clipped, bins, (-limit, limit))
        zeros = float(np.mean(values == 0))
        mean, deviation = values.mean(dtype=np.float64), values.std(dtype=np.float64)
        found[layer.name] = Histogram(counts, edges, float(mean), float(deviation), zeros)
    return found


def _activations(predictor: Predictor, images: Images, layers: Sequence[Layer]) -> list[np.ndarray]:
    """Return the values of layers, float32 `[n, *shape]` each."""
    pixels = checked_images(predictor, images)
    model, normalize = predictor.model, normalized(predictor)
    names = [layer.name for layer in layers]

    def activations(variables, batch):
        state = model.apply(variables, normalize(batch), train=False, mutable=[ENDPOINTS])[1]
        return [state[ENDPOINTS][name].astype(jnp.float32) for name in names]

    program = compiled(predictor, ("activations", *names), activations)
    found = [np.zeros((len(pixels), *layer.shape), np.float32) for layer in layers]
    for first, count, batch in padded_batches(predictor, pixels):
        for values, part in zip(found, program(predictor.variables, *batch), strict=True):
            values[first : first + count] = part[:count]
    return found
