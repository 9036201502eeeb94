"""Times of programs that are to be compared."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from chex import ArrayTree

from netzoo.kernels import compiler_options
from netzoo.layers import ENDPOINTS
from netzoo.progress import track


def interleaved_times(
    calls: Mapping[str, Callable[[], Any]], rounds: int, description: str = "timing"
) -> dict[str, np.ndarray]:
    """Return the milliseconds of each call, `[rounds]`, by its name.

    The calls take turns, so that a busy moment of the machine does not slow down only one of them.
    Compare medians. Every call first runs once untimed, because it may compile.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        jax.block_until_ready(call())
    for _ in track(range(rounds), description):
        for name, call in calls.items():
            began = time.perf_counter()
            jax.block_until_ready(call())
            times[name].append(1000 * (time.perf_counter() - began))
    return {name: np.array(values) for name, values in times.items()}


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
