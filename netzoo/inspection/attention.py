"""Attention of Vision Transformers: rollout, the heads of a block, and how far each head looks.

Rollout: Abnar and Zuidema, "Quantifying Attention Flow in Transformers", arXiv:2005.00928,
section 3. Distance: Dosovitskiy et al., arXiv:2010.11929, appendix D.7.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from netzoo.errors import UserError, unknown_name
from netzoo.inspection.programs import (
    Images,
    checked_images,
    compiled,
    layers_of,
    normalized,
    padded_batches,
)
from netzoo.inspection.scaling import resized, scaled
from netzoo.layers import ENDPOINTS
from netzoo.models.endpoint_shapes import WEIGHTS, Layer
from netzoo.tasks.classification.predictor import Predictor


def attention_rollout(predictor: Predictor, images: Images) -> np.ndarray:
    """Return how much of each token's output comes from each token of the input.

    In a block, half of a token comes from itself, through the residual connection, and half from
    the tokens that it attends to, by the mean over the heads. The rollout is the product over all
    blocks.

    Args:
      predictor: A Vision Transformer or a hybrid, with its preprocessing.
      images: Images from `predictor.preprocess`.

    Returns:
      float32 `[n, tokens, tokens]`, with rows that sum to 1: row i is the output. The class token,
      if there is one, is token 0; the others are in row-major order.

    Raises:
      UserError: The network has no attention, or the images were not preprocessed.
    """
    blocks = attention_layers(predictor)
    pixels = checked_images(predictor, images)

    tokens = blocks[0].shape[-1]
    return _of_endpoints(
        predictor,
        "rollout",
        lambda endpoints: rollout([endpoints[layer.name] for layer in blocks]),
        pixels,
        (tokens, tokens),
    )


def rollout(weights: Sequence[jax.Array]) -> jax.Array:
    """Return the rollout `[..., tokens, tokens]` of attention `[..., heads, tokens, tokens]`.

    `weights` has one array for each block, in the order of computation.
    """
    product = identity = jnp.eye(weights[0].shape[-1])
    for block in weights:
        product = (0.5 * block.mean(-3) + 0.5 * identity) @ product
    return product


def attention_map(predictor: Predictor, images: Images) -> np.ndarray:
    """Return the rollout of the classified token as maps over the images.

    Args:
      predictor: See `attention_rollout`.
      images: See `attention_rollout`.

    Returns:
      float32 `[n, height, width]` in 0 to 1, of the size of the images: the share of each patch in
      the class token or, without one, in the mean over all tokens. The largest value of a map is 1.

    Raises:
      UserError: See `attention_rollout`.
    """
    flow = attention_rollout(predictor, images)
    size = predictor.preprocessing.crop_size
    return scaled(resized(_patches(flow, attention_layers(predictor)[0]), size))


def attention_heads(predictor: Predictor, images: Images, layer: str | None = None) -> np.ndarray:
    """Return the attention of each head of a block.

    Args:
      predictor: See `attention_rollout`.
      images: See `attention_rollout`.
      layer: The block, e.g. `encoder/block3`; None for the last.

    Returns:
      float32 `[n, heads, rows, columns]`: the attention of the class token to each patch or,
      without a class token, the mean over all tokens.

    Raises:
      UserError: The block is unknown, or see `attention_rollout`.
    """
    blocks = {
        block.name.removesuffix(f"/{WEIGHTS}"): block for block in attention_layers(predictor)
    }
    chosen = list(blocks)[-1] if layer is None else layer.removesuffix(f"/{WEIGHTS}")
    if chosen not in blocks:
        raise unknown_name("block with attention", str(layer), blocks)
    block = blocks[chosen]
    weights = _of_endpoints(
        predictor,
        ("heads", chosen),
        lambda endpoints: endpoints[block.name],
        checked_images(predictor, images),
        block.shape,
    )
    return _patches(weights, block)


def attention_distance(predictor: Predictor, images: Images) -> np.ndarray:
    """Return how far each head looks: the mean distance from a patch to those it attends to.

    The distance between the centres of two patches is weighted by the attention. Class and register
    tokens are left out, and the attention of each patch to all patches is scaled to sum to 1.

    Args:
      predictor: See `attention_rollout`.
      images: See `attention_rollout`.

    Returns:
      float32 `[blocks, heads]` in pixels. A head that attends to all patches equally has the mean
      distance of the patches.

    Raises:
      UserError: See `attention_rollout`.
    """
    blocks = attention_layers(predictor)
    first, (rows, columns) = _grid(blocks[0])
    side = predictor.preprocessing.crop_size / rows
    places = np.indices((rows, columns)).reshape(2, -1)
    distances = side * np.hypot(*(places[:, :, None] - places[:, None]))

    def mean_distances(endpoints):
        weights = jnp.stack([endpoints[layer.name] for layer in blocks], axis=1)
        weights = weights[..., first:, first:]
        weights = weights / weights.sum(-1, keepdims=True)
        return jnp.einsum("nbhqk,qk->nbh", weights, distances) / len(distances)

    pixels = checked_images(predictor, images)
    shape = len(blocks), blocks[0].shape[0]
    return _of_endpoints(predictor, "distance", mean_distances, pixels, shape).mean(0)


def attention_layers(predictor: Predictor) -> list[Layer]:
    """Return the endpoints with attention weights, in the order of computation.

    Raises:
      UserError: There are none.
    """
    found = [layer for layer in layers_of(predictor) if layer.name.endswith(WEIGHTS)]
    if not found:
        raise UserError(
            "the network has no attention; expected a Vision Transformer or a hybrid. grad_cam "
            "explains convolutional networks"
        )
    return found


def _of_endpoints(
    predictor: Predictor,
    key: str | tuple[str, str],
    function: Callable,
    pixels: np.ndarray,
    shape: Sequence[int],
) -> np.ndarray:
    """Evaluate a function of the endpoints of images in batches, float32 `[n, *shape]`."""
    model, normalize = predictor.model, normalized(predictor)

    def computed(variables, batch):
        state = model.apply(variables, normalize(batch), train=False, mutable=[ENDPOINTS])[1]
        return function(state[ENDPOINTS])

    program = compiled(predictor, ("attention", key), computed)
    found = np.zeros((len(pixels), *shape), np.float32)
    for first, count, batch in padded_batches(predictor, pixels):
        found[first : first + count] = jax.device_get(program(predictor.variables, *batch))[:count]
    return found


def _patches(weights: np.ndarray, layer: Layer) -> np.ndarray:
    """Return the attention to the patches, `[..., rows, columns]`, from `[..., tokens, tokens]`.

    This is the attention of the class token or, without one, the mean over all tokens.
    """
    first, grid = _grid(layer)
    own = weights[..., 0, first:] if first else weights.mean(-2)
    return own.reshape(*own.shape[:-1], *grid)


def _grid(layer: Layer) -> tuple[int, tuple[int, int]]:
    """Return the number of tokens before the patches, and the grid of the patches."""
    tokens = Layer("tokens", (layer.shape[-1], 1), layer.dtype)
    assert tokens.grid is not None  # patches of square images
    return tokens.tokens_before_patches, tokens.grid
