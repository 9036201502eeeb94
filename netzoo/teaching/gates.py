"""The gates of squeeze-excite, and what the class explains of them."""

import flax.linen as nn
import jax
import numpy as np
from chex import ArrayTree

from netzoo.layers import SqueezeExcite
from netzoo.teaching.fit import normalize


def squeeze_excite_gates(
    model: nn.Module, variables: ArrayTree, images: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the gates of each block with squeeze-excite, in evaluation.

    Args:
      model: A network whose blocks have a submodule `squeeze_excite`, such as MobileNetV3.
      variables: The variables of the network.
      images: uint8 `[n, height, width, 3]`.

    Returns:
      float32 `[n, channels]`, from 0 to 1, by the name of the block, in the order of the names.
    """
    options = {"capture_intermediates": lambda module, _: isinstance(module.parent, SqueezeExcite)}

    @jax.jit
    def gates(variables):
        _, state = model.apply(variables, normalize(images), train=False, **options)
        blocks = state["intermediates"].items()
        outputs = {name: x["squeeze_excite"]["expand"]["__call__"][0] for name, x in blocks}
        return {name: nn.hard_sigmoid(output) for name, output in outputs.items()}

    return {name: np.asarray(gate) for name, gate in sorted(gates(variables).items())}


def class_share(values: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of a variance that the class explains, from 0 to 1.

    The variance of `values` `[n, channels]` over the examples is the variance of the class means
    plus the variance within classes. Both are summed over the channels.
    """
    centred = values - values.mean(0)
    means = np.zeros_like(centred)
    for label in np.unique(labels):
        means[labels == label] = centred[labels == label].mean(0)
    return float(np.square(means).sum() / np.square(centred).sum())
