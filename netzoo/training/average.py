"""The average of the weights that a run keeps beside the trained weights.

It averages the running statistics too, because those of the last step belong to other weights.
Before its first update, it holds the initial weights.
"""

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from netzoo.training.state import Skipping, TrainState

# Takes the states before and after a step, and returns the share that the average so far has in the
# new average; the weights after the step have the rest.
Decay = Callable[[TrainState, TrainState], jax.Array]


def kind(config: ConfigDict) -> Literal["ema", "swa", "params"]:
    """Return which weights a run evaluates: an average, or `"params"` if it keeps none."""
    if config.train.ema_decay > 0:
        return "ema"
    return "swa" if config.train.swa_epochs else "params"


def create_decay(config: ConfigDict, steps_per_epoch: int) -> Decay | None:
    """Return how a run averages its weights, or None if it keeps no average.

    * `train.ema_decay`: an exponential moving average over all steps. `train.ema_warmup` lowers the
      decay of the first steps, so that the average forgets the initial weights.
    * `train.swa_epochs`: the mean of the weights at the end of each of the last epochs (stochastic
      weight averaging; Izmailov et al., arXiv:1803.05407). Before these epochs, it is a copy of the
      weights.
    """
    if config.train.ema_decay > 0:
        return lambda old, new: _ema(config, old, new)
    if config.train.swa_epochs:
        first = max(config.train.epochs - config.train.swa_epochs, 0) * steps_per_epoch
        return lambda old, new: _swa(new.step - first, steps_per_epoch)
    return None


def _ema(config: ConfigDict, old: TrainState, new: TrainState) -> jax.Array:
    largest, number = config.train.ema_decay, old.updates
    if config.train.ema_warmup == "num_updates":
        decay = jnp.minimum(largest, (1 + number) / (10 + number))
    elif config.train.ema_warmup == "debias":
        # The result equals an average of fixed decay that starts at 0, divided by the sum of its
        # shares, `1 - largest ** (number + 1)`. expm1 computes the sum without cancellation.
        decay = 1 - (1 - largest) / -jnp.expm1((1 + number) * math.log(largest))
    else:
        decay = jnp.asarray(largest)
    # A skipped step does not count.
    return (
        jnp.where(new.updates == number, 1.0, decay)
        if isinstance(old.opt_state, Skipping)
        else decay
    )


def _swa(steps: jax.Array, steps_per_epoch: int) -> jax.Array:
    """Return the decay after `steps` steps of the averaged epochs; `steps` <= 0 is before them."""
    epochs = jnp.maximum(steps // steps_per_epoch, 1)
    ended = steps % steps_per_epoch == 0
    return jnp.where(steps <= 0, 0.0, jnp.where(ended, (epochs - 1) / epochs, 1.0))
