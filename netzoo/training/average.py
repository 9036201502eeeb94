"""The average of the weights that a run keeps beside the trained weights.

It averages the running statistics too, because those of the last step belong to other weights.
Before its first update, it holds the initial weights.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from chex import ArrayTree
from ml_collections import ConfigDict

from netzoo.config.keys import SCHEDULE_FREE
from netzoo.training.schedule import warmup_epochs
from netzoo.training.state import Skipping, TrainState

# Takes the states before and after a step, and returns the share that the average so far has in the
# new average; the weights after the step have the rest.
Decay = Callable[[TrainState, TrainState], jax.Array]


class Average(NamedTuple):
    """How a run averages its weights.

    Attributes:
      update: Takes the states before and after a step, and returns the new average.
      gradient_point: Returns the parameters at which a step from a state takes its gradient.
    """

    update: Callable[[TrainState, TrainState], ArrayTree]
    gradient_point: Callable[[TrainState], ArrayTree]


def is_schedule_free(config: ConfigDict) -> bool:
    """Return whether the optimizer needs an average of its own."""
    return config.optimizer.name in SCHEDULE_FREE


def kind(config: ConfigDict) -> Literal["ema", "swa", "schedule_free", "params"]:
    """Return which weights a run evaluates: an average, or `"params"` if it keeps none."""
    if config.train.ema_decay > 0:
        return "ema"
    if is_schedule_free(config):
        return "schedule_free"
    return "swa" if config.train.swa_epochs else "params"


def create_average(config: ConfigDict, steps_per_epoch: int) -> Average | None:
    """Return how a run averages its weights, or None if it keeps no average.

    Schedule-free optimizers average only the parameters, and keep the newest running statistics:
    their mean over the whole run would be that of much earlier weights. Gradients are taken at a
    point between the trained parameters and their average, where `optimizer.b1` is the share of the
    average (Defazio et al., arXiv:2405.15682, the sequence y).
    """
    decay, free = create_decay(config, steps_per_epoch), is_schedule_free(config)
    if decay is None:
        return None

    def update(old: TrainState, new: TrainState) -> ArrayTree:
        share = decay(old, new)
        mean = jax.tree.map(lambda a, x: share * a + (1 - share) * x, old.ema, new.variables)
        return {**mean, **new.model_state} if free else mean

    def between(state: TrainState) -> ArrayTree:
        assert state.ema is not None
        share, average = config.optimizer.b1, state.ema["params"]
        return jax.tree.map(lambda z, x: z + share * (x - z), state.params, average)

    return Average(update, between if free else lambda state: state.params)


def create_decay(config: ConfigDict, steps_per_epoch: int) -> Decay | None:
    """Return the decay of a run's average, or None if it keeps no average.

    * `train.ema_decay`: an exponential moving average over all steps. `train.ema_warmup` lowers the
      decay of the first steps, so that the average forgets the initial weights.
    * `train.swa_epochs`: the mean of the weights at the end of each of the last epochs (stochastic
      weight averaging; Izmailov et al., arXiv:1803.05407). Before these epochs, it is a copy of the
      weights.
    * Schedule-free optimizers: the mean of the weights after all steps, weighted by the squares of
      the learning rates (Defazio et al., arXiv:2405.15682, Algorithm 1).
    """
    if config.train.ema_decay > 0:
        return _unless_skipped(lambda updates: _ema(config, updates))
    if is_schedule_free(config):
        warmup = round(warmup_epochs(config) * steps_per_epoch)
        return _unless_skipped(lambda updates: _schedule_free(updates, warmup))
    if config.train.swa_epochs:
        first = max(config.train.epochs - config.train.swa_epochs, 0) * steps_per_epoch
        return lambda old, new: _swa(new.step - first, steps_per_epoch)
    return None


def _unless_skipped(decay: Callable[[jax.Array], jax.Array]) -> Decay:
    """Leave the average as it is at a skipped step; `decay` takes the number of earlier updates."""

    def checked(old: TrainState, new: TrainState) -> jax.Array:
        share = decay(old.updates)
        if not isinstance(old.opt_state, Skipping):
            return share
        return jnp.where(new.updates == old.updates, 1.0, share)

    return checked


def _ema(config: ConfigDict, updates: jax.Array) -> jax.Array:
    largest = config.train.ema_decay
    if config.train.ema_warmup == "num_updates":
        return jnp.minimum(largest, (1 + updates) / (10 + updates))
    if config.train.ema_warmup == "debias":
        # The result equals an average of fixed decay that starts at 0, divided by the sum of its
        # shares, `1 - largest ** (updates + 1)`. expm1 computes the sum without cancellation.
        return 1 - (1 - largest) / -jnp.expm1((1 + updates) * math.log(largest))
    return jnp.asarray(largest)


def _schedule_free(updates: jax.Array, warmup: int) -> jax.Array:
    """Return the decay for a learning rate that is constant after `warmup` updates from 0.

    The update after `n` others has the weight `min(1, n / warmup) ** 2`.
    """
    number, length = updates.astype(jnp.float32), float(max(warmup, 1))
    rising = jnp.minimum(number, warmup)
    weight = jnp.square(rising / length) if warmup else jnp.ones(())
    # Earlier updates have the squares of 0, 1, 2, ... over that of `length` as weights, and then 1.
    squares = (rising - 1) * rising * (2 * rising - 1) / (6 * length**2)
    earlier = squares + (number - rising)
    # The first update of a warm-up changes nothing, and has no weight.
    return jnp.where(weight > 0, earlier / (earlier + weight), 1.0)


def _swa(steps: jax.Array, steps_per_epoch: int) -> jax.Array:
    """Return the decay after `steps` steps of the averaged epochs; `steps` <= 0 is before them."""
    epochs = jnp.maximum(steps // steps_per_epoch, 1)
    ended = steps % steps_per_epoch == 0
    return jnp.where(steps <= 0, 0.0, jnp.where(ended, (epochs - 1) / epochs, 1.0))
