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


def create_network(config: ConfigDict, num_classes: int) -> nn.Module:
    """Makes the network of `config.model`.

    Raises:
      UserError: It is unknown, or has no such option.
    """
    options = {**config.model.to_dict(), "dtype": jnp.dtype(config.model.dtype)}
    return create_model(options.pop("name"), num_classes=num_classes, **options)


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

    `train` is the network's switch for statistics and dropout, `key` the random key of dropout.
    """
    mutable = [*(name for name in variables if name != "params"), AUXILIARY]
    options = {"mutable": mutable, "rngs": {"dropout": key}, "method": method}
    with rematerialized_blocks() if config.train.remat else contextlib.nullcontext():
        return model.apply(variables, *inputs, train=train, **options)
