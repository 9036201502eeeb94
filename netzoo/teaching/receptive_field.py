"""Receptive fields, measured by gradients (Luo et al., arXiv:1701.04128, section 2).

The theoretical receptive field of a position holds the inputs that can change it. The effective
one holds those that change it noticeably.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from chex import ArrayTree

from netzoo.layers import ENDPOINTS, perturbed


def gradient_map(
    model: nn.Module, variables: ArrayTree, images: jax.Array, source: str, target: str
) -> jax.Array:
    """Return the squared gradient of an endpoint's centre with respect to another endpoint.

    The gradient is that of a random combination of the channels. The squares are averaged over the
    images and over the channels of `source`.

    Args:
      model: A network with the endpoints `source` and `target`.
      variables: Its variables.
      images: Normalised images `[n, height, width, 3]`.
      source: The endpoint of the gradient, `[n, rows, columns, channels]`.
      target: The endpoint with the centre, which is position `size // 2` of each axis.

    Returns:
      `[rows, columns]` of `source`.
    """

    def endpoints(variables: ArrayTree) -> dict[str, jax.Array]:
        return model.apply(variables, images, train=False, mutable=[ENDPOINTS])[1][ENDPOINTS]

    def centre(added: jax.Array) -> jax.Array:
        output = endpoints(perturbed(variables, {source: added}))[target]
        middle = output[:, output.shape[1] // 2, output.shape[2] // 2]
        return (middle * jax.random.normal(jax.random.key(0), middle.shape)).sum()

    found = jax.eval_shape(endpoints, variables)[source]
    gradient = jax.grad(centre)(jnp.zeros(found.shape, found.dtype))
    return (gradient**2).mean((0, 3))


def random_gradient_map(
    model: nn.Module, image_size: int, source: str, target: str, networks: int
) -> np.ndarray:
    """Return the mean `gradient_map` of networks with random variables on images of noise."""
    init = functools.partial(model.init, train=False)
    images = jax.random.normal(jax.random.key(1), (4, image_size, image_size, 3))

    def of_one(key: jax.Array) -> jax.Array:
        return gradient_map(model, init(key, images), images, source, target)

    keys = jax.random.split(jax.random.key(0), networks)
    return np.asarray(jax.jit(lambda keys: jax.lax.map(of_one, keys).mean(0))(keys))


def field_widths(squares: np.ndarray) -> np.ndarray:
    """Return the theoretical and the effective width of a map of squared gradients.

    The theoretical width is the number of columns with a gradient. The effective width is that of
    a uniform window with the variance of the map. Along an axis, a uniform window has the variance
    `(width^2 - 1) / 12`. For `n` random `k`x`k` convolutions, the effective width is about
    `sqrt(1 + n (k^2 - 1))`.
    """
    share = (squares.sum(0) + squares.sum(1)) / (2 * squares.sum())
    place = np.arange(len(share))
    variance = share @ place**2 - (share @ place) ** 2
    return np.array([(squares.sum(0) > 0).sum(), np.sqrt(1 + 12 * variance)])
