"""Optimizers and schedules by name, on optax."""

import jax
import optax
from ml_collections import ConfigDict

from netzoo.errors import unknown_name
from netzoo.training import patterns


def create_schedule(config: ConfigDict, steps_per_epoch: int) -> optax.Schedule:
    """Returns the learning rate as a function of the step.

    Linear from 0 over `schedule.warmup_epochs`, then `schedule.name`:

    * `cosine`: half a cosine from the peak to 0 at the last step (Loshchilov and Hutter,
      arXiv:1608.03983, without restarts);
    * `exponential`: times `decay_rate` after every `decay_epochs`, as a staircase;
    * `constant`.

    Raises:
      UserError: The name is unknown.
    """
    schedule, peak = config.schedule, config.optimizer.learning_rate
    warmup = round(schedule.warmup_epochs * steps_per_epoch)
    rest = config.train.epochs * steps_per_epoch - warmup
    after = {
        "cosine": lambda: optax.cosine_decay_schedule(peak, max(rest, 1)),
        "exponential": lambda: optax.exponential_decay(
            peak,
            transition_steps=max(1, round(schedule.decay_epochs * steps_per_epoch)),
            decay_rate=schedule.decay_rate,
            staircase=True,
        ),
        "constant": lambda: optax.constant_schedule(peak),
    }
    if schedule.name not in after:
        raise unknown_name("schedule.name", schedule.name, after)
    main = after[schedule.name]()
    if warmup == 0:
        return main
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), main], [warmup])


def create_optimizer(
    config: ConfigDict, learning_rate: optax.Schedule, params
) -> optax.GradientTransformation:
    """Returns clipping, the optimizer named `optimizer.name`, weight decay and learning rate.

    Weight decay is decoupled for `adamw` (Loshchilov and Hutter, arXiv:1711.05101) and added to
    the gradient for `sgd` and `rmsprop`, as in the recipes that use these.

    Raises:
      UserError: The name is unknown, or the table of weight-decay factors does not fit `params`.
    """
    o = config.optimizer
    decay = _weight_decay(o.weight_decay, o.weight_decay_factors, params)
    recipes = {
        "adamw": lambda: (optax.scale_by_adam(b1=o.b1, b2=o.b2, eps=o.epsilon), decay),
        "sgd": lambda: (decay, optax.trace(o.momentum, nesterov=o.nesterov)),
        "rmsprop": lambda: (
            decay,
            optax.scale_by_rms(decay=o.decay, eps=o.epsilon),
            optax.trace(o.momentum),
        ),
    }
    if o.name not in recipes:
        raise unknown_name("optimizer.name", o.name, recipes)
    clip = config.train.clip_norm
    first = () if clip is None else (optax.clip_by_global_norm(clip),)
    return optax.chain(*first, *recipes[o.name](), optax.scale_by_learning_rate(learning_rate))


def _weight_decay(rate: float, table: patterns.Table, params) -> optax.GradientTransformation:
    factors = patterns.match(table, params, "optimizer.weight_decay_factors")
    if rate == 0:
        return optax.identity()

    def update(updates, params):
        return jax.tree.map(lambda u, p, f: u + rate * f * p, updates, params, factors)

    return optax.stateless(update)
