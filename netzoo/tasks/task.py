"""What the training loop needs to know of what it trains, and the network that a task trains."""

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from chex import ArrayTree
from ml_collections import ConfigDict
from rich.console import Console

from netzoo.errors import UserError, note
from netzoo.layers import AUXILIARY
from netzoo.models import create_model
from netzoo.models.remat import rematerialized_blocks
from netzoo.weights import CATALOGUE, load_weights
from netzoo.weights.origin import Weights, describe_weights, differing, taken


class Task(Protocol):
    """A network with its data, loss and metrics; the loop and the evaluation serve all of them."""

    main_metric: str  # by which "best" is decided; higher is better
    throughput_unit: str  # e.g. "images"
    steps_per_epoch: int  # batches that make one pass over the training examples
    config: ConfigDict
    model: nn.Module

    @staticmethod
    def resolve(config: ConfigDict) -> None:
        """Fills in, in place, what a configuration leaves to its other keys.

        By default these are the options of the network that `init.weights` were trained with.
        """
        take_options(config)

    @staticmethod
    def split_names(config: ConfigDict) -> Collection[str]:
        """Returns the names of the splits of `data.source`."""

    @classmethod
    def without_data(cls, config: ConfigDict, classes: int) -> tuple["Task", ArrayTree]:
        """Returns a task whose training step can be compiled, and the shapes of a batch.

        Raises:
          UserError: The step depends on the data, as it does by default.
        """
        raise UserError(f"{config.task} takes no number of classes but reads its data")

    def save(self, workdir: Path) -> None:
        """Writes what prediction needs besides weights and configuration, e.g. class names."""

    def batch_sizes(self) -> dict[str, int]:
        """Returns the sizes that the number of devices must divide, by the key that sets each."""

    def notes(self) -> list[str]:
        """Returns what training does otherwise than the configuration says, a line each."""

    def count(self, batch: ArrayTree) -> int:
        """Returns the number of `throughput_unit` in a training batch, without padding."""

    def init(self, key: jax.Array) -> ArrayTree:
        """Returns the initial variables of the network."""

    def pretrained_variables(self, *, new_head: bool = False) -> ArrayTree | None:
        """Returns the variables of `init.weights`, or None; their head becomes one for the data.

        With `new_head` it becomes one whatever its number of classes.
        """
        config, size = self.config, self.config.data.get("image_size", 0)
        if config.init.weights is None:
            return None
        options: dict[str, Any] = {"seed": config.seed, "new_head": new_head}
        return load_weights(config.init.weights, self.model, image_size=size, **options)

    def train_iterator(self) -> Iterator[ArrayTree]:
        """Returns endless training batches; its position can be saved and restored."""

    def loss(
        self, variables: ArrayTree, batch: ArrayTree, key: jax.Array
    ) -> tuple[jax.Array, ArrayTree, ArrayTree]:
        """Returns the loss, the new state of the network and scalar metrics, in training mode."""

    def evaluation_batches(self, split: str, limit: int | None = None) -> Iterable[ArrayTree]:
        """Returns batches of one shape with every example, or `limit` of them, and a `mask`."""

    def evaluation_sums(self, variables: ArrayTree, batch: ArrayTree) -> ArrayTree:
        """Returns sums over the unmasked examples of a batch, from which all metrics follow."""

    def metrics(self, sums: dict[str, np.ndarray]) -> dict[str, Any]:
        """Returns the metrics for the sums over a whole split."""

    def report(
        self, variables: ArrayTree, split: str, sums: dict[str, np.ndarray]
    ) -> tuple[dict[str, Any], Callable[[Path], None]]:
        """Returns the scores of the final evaluation, and a function that draws its figures.

        Each process computes all of it, with variables on a device of its own; one draws.
        """

    def show(self, report: dict[str, Any], console: Console) -> None:
        """Prints the metrics and what `report` returned, in a few lines."""


def take_options(config: ConfigDict) -> Weights | None:
    """Sets, in place, the options of the network that `init.weights` were trained with.

    Options that the configuration has already stay.

    Returns:
      What is known of the weights; None without any, and where they are gone, as they may be when
      a run is evaluated.

    Raises:
      UserError: The weights cannot be read, or are those of another network.
    """
    path = config.init.weights
    if path is None or not (path in CATALOGUE or Path(path).expanduser().exists()):
        return None
    options = config.model.to_dict()
    name, _ = options.pop("name"), options.pop("dtype")
    weights = describe_weights(path, name, **options)
    new = differing(weights.options, create_model(name, **options))
    new = {option: value for option, value in new.items() if option not in options}
    config.model.update(new)
    if new and weights.known_from not in CATALOGUE:
        note(taken(weights, new))
    return weights


def create_network(config: ConfigDict, num_classes: int) -> nn.Module:
    """Makes the network of `config.model`; an unknown network or option is a UserError."""
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
    options: dict[str, Any] = {"mutable": mutable, "rngs": {"dropout": key}, "method": method}
    with rematerialized_blocks() if config.train.remat else contextlib.nullcontext():
        return model.apply(variables, *inputs, train=train, **options)
