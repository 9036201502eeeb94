"""The variance that BatchNorm finds, and the one it expects (Li et al., arXiv:1801.05134)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from chex import ArrayTree

from netzoo.layers import BatchNorm
from netzoo.teaching.fit import normalize


def variance_ratios(model: nn.Module, variables: ArrayTree, images: np.ndarray) -> np.ndarray:
    """Return the variance of each BatchNorm's inputs in evaluation over its running variance.

    Args:
      model: A network that gives its BatchNorms no names and calls each of them once.
      variables: The variables of the network.
      images: uint8 `[n, height, width, 3]`.

    Returns:
      The medians over the channels, `[BatchNorms]`, in the order of the calls.
    """

    @jax.jit
    def found(variables):
        options = {"capture_intermediates": lambda module, _: isinstance(module, BatchNorm)}
        _, state = model.apply(variables, normalize(images), train=False, **options)
        outputs = state["intermediates"]
        # BatchNorm divides by the running deviation and multiplies by the scale.
        scales = {name: variables["params"][name]["scale"] for name in outputs}
        return {
            name: jnp.median((output["__call__"][0] / scales[name]).var((0, 1, 2)))
            for name, output in outputs.items()
        }

    ratios = found(variables)
    return np.array([ratios[f"BatchNorm_{number}"] for number in range(len(ratios))])
