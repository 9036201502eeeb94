"""Which parameters are trained, and from which update on."""

import functools
import math
from collections.abc import Callable

import jax
from chex import ArrayTree
from ml_collections import ConfigDict

from netzoo.training import patterns

NEVER = math.inf


def lr_mults(config: ConfigDict, params: ArrayTree) -> ArrayTree:
    """Return the learning-rate factor of every parameter, as a tree of floats."""
    return patterns.match(config.optimizer.lr_mults, params, "optimizer.lr_mults")


def first_updates(config: ConfigDict, params: ArrayTree, steps_per_epoch: int) -> ArrayTree:
    """Return the number of updates before each parameter is trained.

    It is `NEVER` for parameters with learning-rate factor 0. Skipped steps do not count.
    """
    epochs = patterns.match(config.optimizer.unfreeze, params, "optimizer.unfreeze")
    return jax.tree.map(
        lambda factor, epoch: round(epoch * steps_per_epoch) if factor else NEVER,
        lr_mults(config, params),
        epochs,
    )


def freezers(firsts: ArrayTree) -> dict[int, Callable[[ArrayTree], ArrayTree]]:
    """Return functions that stop the gradients of frozen parameters, by phase of the training.

    A phase begins with the update that is its key, and has more trained parameters than the phase
    before it. The backward pass ends below the first trained layer.
    """

    def freeze(phase, params):
        def stopped(x, first):
            return x if first <= phase else jax.lax.stop_gradient(x)

        return jax.tree.map(stopped, params, firsts)

    phases = sorted({0, *jax.tree.leaves(firsts)} - {NEVER})
    return {phase: functools.partial(freeze, phase) for phase in phases}
