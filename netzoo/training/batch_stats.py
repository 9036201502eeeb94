"""Estimates BatchNorm's statistics for averaged weights from training batches.

The mean of the running statistics of several weights is not the statistic of their mean (Izmailov
et al., arXiv:1803.05407, section 3.2).
"""

import copy
import itertools
from collections.abc import Callable

import jax
from chex import ArrayTree
from jax.sharding import Mesh
from ml_collections import ConfigDict

from netzoo import kernels
from netzoo import mesh as meshes
from netzoo.errors import UserError
from netzoo.kernels import compiler_options
from netzoo.tasks.task import Task
from netzoo.training.state import TrainState

STATISTICS = "batch_stats"
Estimate = Callable[[TrainState, Callable[[ArrayTree], ArrayTree]], TrainState]


def check_batch_norm(config: ConfigDict, task: Task, model_state: ArrayTree) -> None:
    """Raise a UserError if keys of BatchNorm are set that the network cannot use.

    `model_state` are the collections of the network besides the parameters.
    """
    batches = config.train.batch_norm_batches
    if batches and (STATISTICS not in model_state or not hasattr(task.model, "norm_momentum")):
        raise UserError(
            f"train.batch_norm_batches is {batches}; expected 0 for {config.model.name}, which has "
            "no BatchNorm whose momentum is the option norm_momentum"
        )
    groups = config.train.batch_norm_groups
    if groups > 1 and STATISTICS not in model_state:
        raise UserError(
            f"train.batch_norm_groups is {groups}; expected 1 for {config.model.name}, which has "
            "no BatchNorm"
        )


def make_estimate(config: ConfigDict, task: Task, mesh: Mesh) -> Estimate | None:
    """Return a function that estimates the statistics of `state.ema`, or None by configuration.

    The function takes a state and the function that places a batch on the devices. The new
    statistics are the means of those of the run's first `train.batch_norm_batches` training
    batches. Without gradient accumulation, these batches are augmented and mixed as in their steps
    of the training. With accumulation, each batch is mixed and computed as a whole, not in parts.
    `check_batch_norm` has checked the network.
    """
    batches = config.train.batch_norm_batches
    if not batches:
        return None
    # Without momentum, the new running statistics are those of the batch alone.
    task = copy.copy(task)
    task.model = task.model.clone(norm_momentum=0.0)
    everywhere = meshes.replicated(mesh)

    @kernels.use_backend(kernels.backend(mesh))
    @kernels.use_precision(config.matmul_precision)
    def add(mean, variables, batch, key, number, constants):
        """Return the mean over `number + 1` batches from that over `number` batches."""
        variables = jax.lax.with_sharding_constraint(variables, everywhere)
        key = jax.random.fold_in(jax.random.wrap_key_data(key), number)
        _, model_state, _ = task.with_constants(constants).loss(variables, batch, key)
        share = 1 / (number + 1)
        return jax.tree.map(
            lambda old, new: (1 - share) * old + share * new, mean, model_state[STATISTICS]
        )

    add = jax.jit(add, out_shardings=everywhere, compiler_options=compiler_options(mesh))

    def estimate(state: TrainState, put: Callable[[ArrayTree], ArrayTree]) -> TrainState:
        assert state.ema is not None  # the configuration requires an average
        mean, constants = state.ema[STATISTICS], jax.device_put(task.constants, everywhere)
        for number, batch in enumerate(itertools.islice(task.train_iterator(), batches)):
            mean = add(mean, state.ema, put(batch), state.key, number, constants)
        return state.replace(ema={**state.ema, STATISTICS: mean})

    return estimate
