"""Programs that compute a part of a network, to be timed."""

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import numpy as np
from chex import ArrayTree

from netzoo.kernels import compiler_options
from netzoo.layers import ENDPOINTS


def programs_until(
    model: nn.Module, variables: ArrayTree, images: np.ndarray, endpoints: Sequence[str]
) -> dict[str, Callable[[], jax.Array]]:
    """Return calls that compute a network up to each endpoint, in evaluation.

    XLA leaves out the layers behind the endpoint. The difference between the times of two
    calls is therefore the time of the layers between them.

    Args:
      model: The network.
      variables: Its variables.
      images: Normalised images, float32 `[n, height, width, 3]`.
      endpoints: Names of endpoints; `logits` is the whole network.
    """

    def program(endpoint: str) -> Callable[[], jax.Array]:
        def run(variables, images):
            logits, state = model.apply(variables, images, train=False, mutable=[ENDPOINTS])
            return logits if endpoint == "logits" else state[ENDPOINTS][endpoint]

        compiled = jax.jit(run, compiler_options=compiler_options())
        return functools.partial(compiled, variables, images)

    return {endpoint: program(endpoint) for endpoint in endpoints}
