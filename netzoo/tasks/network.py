"""The network that a configuration names, as every task makes and trains it."""

import contextlib
from typing import Any

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
    return create_model(config.model.name, num_classes=num_classes, **_options(config))


def pretrained_variables(config: ConfigDict, num_classes: int, **sizes: int) -> ArrayTree | None:
    """Returns the variables of `init.weights` for that many classes, or None where it is unset.

    Args:
      config: The configuration.
      num_classes: Logits of the network; weights for another number get a new head.
      **sizes: Of the input, for networks that depend on it, say `image_size`.
    """
    if config.init.weights is None:
        return None
    return load_weights(
        config.init.weights,
        model=config.model.name,
        num_classes=num_classes,
        seed=config.seed,
        **sizes,
        **_options(config),
    )


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
      config: Says whether activations are computed twice.
      model: The network.
      variables: Its variables.
      *inputs: Its inputs.
      train: Its switch for statistics and dropout.
      key: Random key of dropout.
      method: Of the network, that takes the inputs.
    """
    with rematerialized_blocks() if config.train.remat else contextlib.nullcontext():
        return model.apply(
            variables,
            *inputs,
            train=train,
            mutable=[*(name for name in variables if name != "params"), AUXILIARY],
            rngs={"dropout": key},
            method=method,
        )


def _options(config: ConfigDict) -> dict[str, Any]:
    options = config.model.to_dict()
    del options["name"]
    return {**options, "dtype": jnp.dtype(options["dtype"])}
