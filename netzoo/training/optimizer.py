"""Creates optax optimizers by name."""

import operator
from collections.abc import Callable, Iterable

import jax
import optax
from ml_collections import ConfigDict

from netzoo.errors import unknown_name
from netzoo.training import patterns
from netzoo.training.freezing import NEVER, first_updates, lr_mults
from netzoo.training.layer_order import layer_factors
from netzoo.training.layerwise import scale_by_muon_or_adam, scale_by_trust_ratio

# LARS's trust coefficient, the default of optax.
_LARS_COEFFICIENT = 0.001
# Gradient transformations by `optimizer.name`; user modules may add more. A function takes the keys
# `optimizer.*`, the transformation that adds the weight decay, and the one that multiplies by the
# negative learning rate.
OPTIMIZERS: dict[
    str,
    Callable[
        [ConfigDict, optax.GradientTransformation, optax.GradientTransformation],
        Iterable[optax.GradientTransformation],
    ],
] = {
    "adamw": lambda o, decay, rate: (optax.scale_by_adam(o.b1, o.b2, o.epsilon), decay, rate),
    "sgd": lambda o, decay, rate: (decay, optax.trace(o.momentum, o.nesterov), rate),
    "rmsprop": lambda o, decay, rate: (
        *(decay, optax.scale_by_rms(o.decay, o.epsilon)),
        *(optax.trace(o.momentum), rate),
    ),
    # The RMSProp of TensorFlow and timm (RMSpropTF), with which the MobileNets were trained: the
    # mean of squares starts at 1, and the momentum contains the learning rate.
    "rmsprop_tf": lambda o, decay, rate: (
        *(decay, optax.scale_by_rms(o.decay, o.epsilon, initial_scale=1.0)),
        *(rate, optax.trace(o.momentum)),
    ),
    "lamb": lambda o, decay, rate: (
        *(optax.scale_by_adam(o.b1, o.b2, o.epsilon), decay),
        *(scale_by_trust_ratio(), rate),
    ),
    "lars": lambda o, decay, rate: (
        *(decay, scale_by_trust_ratio(_LARS_COEFFICIENT)),
        *(rate, optax.trace(o.momentum)),
    ),
    "lion": lambda o, decay, rate: (optax.scale_by_lion(o.b1, o.b2), decay, rate),
    "muon": lambda o, decay, rate: (
        *(scale_by_muon_or_adam(o.momentum, o.b1, o.b2, o.epsilon), decay, rate),
    ),
    # The average of `netzoo.training.average` replaces their momentum, and uses `b1`.
    "schedule_free_adamw": lambda o, decay, rate: (
        optax.scale_by_rms(o.b2, o.epsilon, eps_in_sqrt=False, bias_correction=True),
        *(decay, rate),
    ),
    "schedule_free_sgd": lambda o, decay, rate: (decay, rate),
}


def check_optimizer(config: ConfigDict) -> None:
    """Raise a UserError if `optimizer.name` is unknown."""
    if config.optimizer.name not in OPTIMIZERS:
        raise unknown_name("optimizer", config.optimizer.name, OPTIMIZERS)


def create_optimizer(
    config: ConfigDict, learning_rate: optax.Schedule, params, steps_per_epoch: int = 1
) -> optax.GradientTransformation:
    """Chain clipping, the optimizer `optimizer.name`, weight decay and learning rates.

    Parameters with learning-rate factor 0 have no state and do not count in clipping. Parameters
    that `optimizer.unfreeze` trains later, after epochs of `steps_per_epoch` updates, have a state
    that begins then; until then, their gradients must be 0.

    Weight decay is decoupled for `adamw`, `schedule_free_adamw`, `lion` and `muon` (Loshchilov and
    Hutter, arXiv:1711.05101). For `lamb`, it is part of the update that the trust ratio scales. For
    the others, it is added to the gradient, as in their published recipes.

    Raises:
      UserError: The name is unknown, or a table does not fit `params`.
    """
    check_optimizer(config)
    mults = lr_mults(config, params)
    plain = {*jax.tree.leaves(mults)} == {1.0} and config.optimizer.layer_decay == 1
    if config.optimizer.layer_decay < 1:
        factors = layer_factors(config.optimizer.layer_decay, params)
        mults = jax.tree.map(operator.mul, mults, factors)
    starts = first_updates(config, params, steps_per_epoch)
    firsts = {*jax.tree.leaves(starts)} - {NEVER}
    limit = config.train.clip_norm
    clip = [] if limit is None else [optax.clip_by_global_norm(limit)]
    groups = {_label(NEVER): optax.set_to_zero()}
    for first in firsts:

        def own(tree, first=first):
            return jax.tree.map(lambda x, s: x if s == first else optax.MaskedNode(), tree, starts)

        rule = _rule(config, learning_rate, params, first, own)
        rule = optax.chain(*(clip if len(firsts) == 1 else ()), *rule)
        if plain and firsts == {0}:
            return rule
        scale = _scale(own(mults))
        groups[_label(first)] = _from_update(first, optax.chain(rule, scale))
    optimizer = optax.multi_transform(groups, jax.tree.map(_label, starts))
    # One norm for all parameters that are trained at the time.
    return optax.chain(*clip, optimizer) if len(firsts) > 1 else optimizer


def _label(first: float) -> str:
    return "frozen" if first == NEVER else f"trained_from_{first}" if first else "trained"


def _rule(
    config: ConfigDict, learning_rate: optax.Schedule, params, first: int, own: Callable
) -> Iterable[optax.GradientTransformation]:
    """Return the transformations of the parameters that are trained from update `first` on.

    `own` masks all other parameters of a tree.
    """
    # A transformation counts its own updates, but the schedule counts those of the run.
    schedule = (lambda count: learning_rate(count + first)) if first else learning_rate
    rate, decay = optax.scale_by_learning_rate(schedule), _weight_decay(config, params, own)
    return OPTIMIZERS[config.optimizer.name](config.optimizer, decay, rate)


def _from_update(first: int, inner: optax.GradientTransformation) -> optax.GradientTransformation:
    return optax.conditionally_mask(inner, lambda count: count >= first) if first else inner


def _scale(factors) -> optax.GradientTransformation:
    return optax.stateless(lambda updates, _: jax.tree.map(operator.mul, updates, factors))


def _weight_decay(config: ConfigDict, params, own: Callable) -> optax.GradientTransformation:
    rate, table = config.optimizer.weight_decay, config.optimizer.weight_decay_mults
    factors = own(patterns.match(table, params, "optimizer.weight_decay_mults"))
    if rate == 0:
        return optax.identity()

    def update(updates, params):
        return jax.tree.map(lambda u, p, f: u + rate * f * p, updates, params, factors)

    return optax.stateless(update)
