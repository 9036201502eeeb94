"""Creates optax optimizers by name."""

import operator
from collections.abc import Callable, Iterable

import jax
import optax
from ml_collections import ConfigDict

from netzoo.errors import unknown_name
from netzoo.training import patterns
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
}


def check_optimizer(config: ConfigDict) -> None:
    """Raise a UserError if `optimizer.name` is unknown."""
    if config.optimizer.name not in OPTIMIZERS:
        raise unknown_name("optimizer", config.optimizer.name, OPTIMIZERS)


def create_optimizer(
    config: ConfigDict, learning_rate: optax.Schedule, params
) -> optax.GradientTransformation:
    """Chain clipping, the optimizer `optimizer.name`, weight decay and learning rates.

    Parameters with learning-rate factor 0 have no state and do not count in clipping.

    Weight decay is decoupled for `adamw`, `lion` and `muon` (Loshchilov and Hutter,
    arXiv:1711.05101), part of the update that LAMB's trust ratio scales, and added to the gradient
    for the others, as in their published recipes.

    Raises:
      UserError: The name is unknown, or a table of factors does not fit `params`.
    """
    check_optimizer(config)
    factors = lr_mults(config, params)
    decay = _weight_decay(config, params, factors)
    rate = optax.scale_by_learning_rate(learning_rate)
    parts = [*OPTIMIZERS[config.optimizer.name](config.optimizer, decay, rate)]
    if config.train.clip_norm is not None:
        parts.insert(0, optax.clip_by_global_norm(config.train.clip_norm))
    optimizer = optax.chain(*parts)
    layer_decay = config.optimizer.layer_decay
    if set(jax.tree.leaves(factors)) == {1.0} and layer_decay == 1:
        return optimizer
    mults = factors
    if layer_decay < 1:
        mults = jax.tree.map(operator.mul, factors, layer_factors(layer_decay, params))
    mults = _trained(mults, factors)
    scale = optax.stateless(lambda updates, _: jax.tree.map(operator.mul, updates, mults))
    optimizer = optax.chain(optimizer, scale)
    labels = jax.tree.map(lambda factor: "trained" if factor else "frozen", factors)
    return optax.multi_transform({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)


def lr_mults(config: ConfigDict, params):
    """Return the learning-rate factor of every parameter, as a tree of floats."""
    return patterns.match(config.optimizer.lr_mults, params, "optimizer.lr_mults")


def _weight_decay(config: ConfigDict, params, rate_factors) -> optax.GradientTransformation:
    rate, table = config.optimizer.weight_decay, config.optimizer.weight_decay_mults
    factors = patterns.match(table, params, "optimizer.weight_decay_mults")
    if rate == 0:
        return optax.identity()
    factors = _trained(factors, rate_factors)

    def update(updates, params):
        return jax.tree.map(lambda u, p, f: u + rate * f * p, updates, params, factors)

    return optax.stateless(update)


def _trained(tree, rate_factors):
    """Replace the leaves of frozen parameters by optax's marker for masked parameters."""
    return jax.tree.map(lambda x, rate: x if rate else optax.MaskedNode(), tree, rate_factors)
