"""Grad-CAM: the regions of an image that increase the logit of a class, by a layer's gradient.

Selvaraju et al., "Grad-CAM", arXiv:1610.02391, section 3; Chattopadhay et al., "Grad-CAM++",
arXiv:1710.11063, section 3.2.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from netzoo.inspection.layers import find_layer
from netzoo.inspection.programs import (
    Classes,
    Images,
    checked_classes,
    checked_images,
    compiled,
    layers_of,
    normalized,
    padded_batches,
)
from netzoo.inspection.scaling import resized, scaled
from netzoo.layers import ENDPOINTS, perturbed
from netzoo.models.endpoint_shapes import Layer
from netzoo.tasks.classification.predictor import Predictor


def grad_cam(
    predictor: Predictor,
    images: Images,
    classes: Classes = None,
    layer: str | None = None,
    *,
    plus_plus: bool = False,
) -> np.ndarray:
    """Return the Grad-CAM of images.

    A map is the weighted sum of the channels of the layer, with 0 for negative sums. The weight of
    a channel is the gradient of the class's logit, averaged over the positions. In Vision
    Transformers, the positions are the tokens without the class token.

    Args:
      predictor: The network with its preprocessing.
      images: Images from `predictor.preprocess`, uint8 `[height, width, 3]` each.
      classes: Index or name of the class to explain for each image; None for the most probable
        classes.
      layer: The endpoint, e.g. `stage3/block2`; None for the last one where all
        positions influence the logits. `netzoo inspect grad-cam --layer list` prints all.
      plus_plus: Whether to weight the channels as in Grad-CAM++, which shows more of the objects if
        an image has several of the class.

    Returns:
      float32 `[n, height, width]` of the size of the images, in 0 to 1. The largest value of a
      map is 1. If no position increases the logit, the map is 0.

    Raises:
      UserError: The layer or a class is unknown, or the images were not preprocessed.
    """
    chosen = find_layer(layers_of(predictor), layer)
    pixels = checked_images(predictor, images)
    indices = checked_classes(predictor, pixels, classes)
    weigh = _plus_plus_weights if plus_plus else _mean_weights
    maps = _maps(predictor.model, normalized(predictor), chosen, weigh)
    program = compiled(predictor, ("grad_cam", chosen, plus_plus), maps)
    assert chosen.grid is not None
    found = np.zeros((len(pixels), *chosen.grid), np.float32)
    for first, count, batch in padded_batches(predictor, pixels, indices):
        found[first : first + count] = program(predictor.variables, *batch)[:count]
    return scaled(resized(found, predictor.preprocessing.crop_size))


def _maps(model, normalize: Callable, layer: Layer, weigh: Callable) -> Callable:
    """Return the function from variables, pixels and classes to the maps."""

    def maps(variables, pixels, classes):
        images = normalize(pixels)

        def score(perturbation):
            collections = perturbed(variables, {layer.name: perturbation})
            logits, state = model.apply(collections, images, train=False, mutable=[ENDPOINTS])
            own = jnp.take_along_axis(logits, classes[:, None], axis=1)
            # Images are independent in evaluation, so the gradient of the sum is each image's own.
            return own.sum(), state[ENDPOINTS][layer.name]

        zeros = jnp.zeros((len(pixels), *layer.shape), layer.dtype)
        gradient, activation = (
            layer.on_grid(values.astype(jnp.float32))
            for values in jax.grad(score, has_aux=True)(zeros)
        )
        return nonnegative(jnp.einsum("bhwc,bc->bhw", activation, weigh(gradient, activation)))

    return maps


def nonnegative(values: jax.Array) -> jax.Array:
    """Replace negative values by 0."""
    return jnp.maximum(values, 0)


def _mean_weights(gradient: jax.Array, activation: jax.Array) -> jax.Array:
    """Return the weights of Grad-CAM `[batch, channels]` (equation 1)."""
    del activation
    return gradient.mean((1, 2))


def _plus_plus_weights(gradient: jax.Array, activation: jax.Array) -> jax.Array:
    """Return the weights of Grad-CAM++ `[batch, channels]` (equations 10 and 19)."""
    square, total = gradient**2, activation.sum((1, 2), keepdims=True)
    below = 2 * square + total * gradient * square
    alpha = jnp.where(below == 0, 0, square / jnp.where(below == 0, 1, below))
    return (alpha * nonnegative(gradient)).sum((1, 2))
