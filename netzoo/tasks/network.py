"""The network that a configuration names, as every task makes and trains it."""

import contextlib

import flax.linen as nn
import jax
import jax.numpy as jnp
from chex import ArrayTree
from ml_collections import ConfigDict

from netzoo.layers import AUXILIARY
from netzoo.models import create_model
from netzoo.models.remat import rematerialized_blocks
from netzoo.weights import load_weights


def create_network(config: ConfigDict, num_classes: int) -> nn.Module:
    """Makes the network of `config.model`.

    Raises:
      UserError: It is unknown, or has no such option.
    """
    options = {**config.model.to_dict(), "dtype": jnp.dtype(config.model.dtype)}
    return create_model(options.pop("name"), num_classes=num_classes, **options)


def pretrained_variables(
    config: ConfigDict, model: nn.Module, image_size: int = 0
) -> ArrayTree | None:
    """Returns the variables of `init.weights` for a network, or None where it is unset.

    Weights for another number of classes get a new head. `image_size` is the side of the network's
    images in pixels; 0 for networks on text.
    """
    if config.init.weights is None:
        return None
    return load_weights(config.init.weights, model, image_size=image_size, seed=config.seed)


def apply_in_training(
    config: ConfigDict,
    model: nn.Module,
    variables: ArrayTree,
    *inputs: jax.Array,
    train: bool,
    key: jax.Array,
    method: str = "__call__",
) -> tuple[jax.Array, ArrayTree]:
    """Returns the output of the network and the collections that it changed or handed out.

    Args:
      config: Says whether activations are computed twice (`train.remat`).
      model: The network.
      variables: Its variables.
      *inputs: What its `method` takes.
      train: Its switch for statistics and dropout.
      key: Random key of dropout.
      method: Name of the method.
    """
    mutable = [*(name for name in variables if name != "params"), AUXILIARY]
    options = {"mutable": mutable, "rngs": {"dropout": key}, "method": method}
    with rematerialized_blocks() if config.train.remat else contextlib.nullcontext():
        return model.apply(variables, *inputs, train=train, **options)
