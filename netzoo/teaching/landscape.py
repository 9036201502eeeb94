"""The loss around trained weights (Li et al., arXiv:1712.09913)."""

from collections.abc import Callable, Mapping

import jax
import numpy as np
from chex import ArrayTree


def random_direction(params: ArrayTree, seed: int = 0) -> ArrayTree:
    """Return a random direction whose filters have the norms of the network's filters.

    A filter has the weights of one output: `[..., outputs]`. A network computes the same function
    if one layer is scaled up and the next one down. Steps in proportion to the filters make the
    directions of such networks comparable (section 4 of the paper). Biases and the scales of norms,
    which have one axis, do not move.

    Returns:
      float32 arrays with the names and shapes of `params`.
    """
    rng = np.random.default_rng(seed)

    def like(weights: jax.Array) -> np.ndarray:
        if weights.ndim < 2:
            return np.zeros(weights.shape, np.float32)
        random = rng.normal(size=weights.shape)
        axes = tuple(range(weights.ndim - 1))
        lengths = [np.sqrt(np.square(x).sum(axes)) for x in (np.asarray(weights), random)]
        return (random * lengths[0] / lengths[1]).astype(np.float32)

    return jax.tree.map(like, params)


def loss_along(
    evaluate: Callable[[ArrayTree], Mapping[str, float]],
    variables: ArrayTree,
    direction: ArrayTree,
    distances: np.ndarray,
) -> np.ndarray:
    """Return the loss at `params + distance * direction`, `[distances]`.

    Args:
      evaluate: An `evaluator` of the network.
      variables: The variables of the network; BatchNorm's running statistics do not change.
      direction: A direction of the parameters, such as a `random_direction`.
      distances: Where to evaluate, `[distances]`.
    """
    params = variables["params"]
    losses = []
    for x in distances.astype(np.float32):
        moved = jax.tree.map(lambda weights, step, x=x: weights + x * step, params, direction)
        losses.append(evaluate({**variables, "params": moved})["loss"])
    return np.array(losses)
