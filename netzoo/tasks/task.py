"""The interface between the training loop and its tasks, and the network of a task."""

import abc
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from chex import ArrayTree
from ml_collections import ConfigDict

from netzoo.errors import UserError, note
from netzoo.layers import AUXILIARY, batch_norm_groups
from netzoo.models import create_model
from netzoo.models.remat import rematerialized_blocks
from netzoo.paths import run_path
from netzoo.tasks.run_facts import RunFacts
from netzoo.weights import CATALOGUE, load_weights, published_weights
from netzoo.weights.hub.find import is_hub_name
from netzoo.weights.origin import describe_weights
from netzoo.weights.recognise import Weights, differing, taken

# `wanted` of `Task.fitted` with `netzoo eval --temperature fit` and with `--thresholds`.
FIT, THRESHOLDS = "fit", "thresholds"


class Task(abc.ABC):
    """A network with its data, loss and metrics, for the training loop and evaluation."""

    main_metric: str  # determines the best weights; higher is better
    throughput_unit: str  # e.g. "images"
    steps_per_epoch: int  # batches per pass over the training examples
    config: ConfigDict
    model: nn.Module
    # Arrays that `loss` reads and training does not change; the step gets them as an argument.
    constants: ArrayTree = ()
    files: Mapping[str, str] = MappingProxyType(
        {}
    )  # SHA-256 of what training reads beside the data
    held_out: str | None = None  # set by `hold_out`; the task makes its examples unreadable

    @staticmethod
    def resolve(config: ConfigDict) -> None:
        """Fill in, in place, values that depend on other keys.

        By default, these are the network options of `init.weights`.
        """
        take_options(config)

    @staticmethod
    @abc.abstractmethod
    def split_sizes(config: ConfigDict) -> Mapping[str, Callable[[], int]]:
        """Return, for each split of `data.source`, a function that counts the split's examples.

        The result is empty if the source does not list its splits.
        """

    @classmethod
    def without_data(cls, config: ConfigDict, classes: int) -> tuple["Task", ArrayTree]:
        """Return a task whose training step can be compiled, and the shapes of a batch.

        Raises:
          UserError: The step depends on the data. Tasks that do not override this method raise it.
        """
        raise UserError(
            f"{config.task} cannot be planned with --classes, because its step depends on the "
            "data; omit --classes"
        )

    @classmethod
    @abc.abstractmethod
    def for_evaluation(cls, config: ConfigDict, workdir: Path) -> "Task":
        """Return the task of a run from the files that `save` wrote, without the training data."""

    @abc.abstractmethod
    def save(self, workdir: Path) -> None:
        """Write further files for prediction, e.g. class names."""

    @abc.abstractmethod
    def batch_sizes(self, *, training: bool = True) -> dict[str, int]:
        """Return, by configuration key, the sizes that the number of devices must divide.

        Without `training`, they are those of evaluation.
        """

    @abc.abstractmethod
    def notes(self) -> list[str]:
        """Return deviations of the training from the configuration, one line each."""

    @abc.abstractmethod
    def fingerprint(self, split: str) -> dict[str, Any]:
        """Return `netzoo.data.source.fingerprint` of a split."""

    def hold_out(self, split: str) -> None:
        """Name the test split, which training must not read; call this before it is opened."""
        self.held_out = split

    def with_constants(self, constants: ArrayTree) -> "Task":
        """Return this task with other arrays as its constants, such as those of a trace."""
        bound = copy.copy(self)
        bound.constants = constants
        return bound

    @abc.abstractmethod
    def count(self, batch: ArrayTree) -> int:
        """Return the number of `throughput_unit` in a training batch, without padding."""

    @abc.abstractmethod
    def init(self, key: jax.Array) -> ArrayTree:
        """Return the initial variables of the network."""

    def pretrained_variables(self, *, new_head: bool = False) -> ArrayTree | None:
        """Return the variables of `init.weights` with a head for the data, or None.

        With `new_head`, the head is always re-initialised.
        """
        config, size = self.config, self.config.data.get("image_size", 0)
        if config.init.weights is None:
            return None
        options: dict[str, Any] = {"seed": config.seed, "new_head": new_head}
        return load_weights(config.init.weights, self.model, image_size=size, **options)

    @abc.abstractmethod
    def train_iterator(self) -> Iterator[ArrayTree]:
        """Return endless training batches, whose position can be saved and restored."""

    @abc.abstractmethod
    def loss(
        self, variables: ArrayTree, batch: ArrayTree, key: jax.Array
    ) -> tuple[jax.Array, ArrayTree, ArrayTree]:
        """Return the loss, the new network state and scalar metrics, in training mode."""

    @abc.abstractmethod
    def evaluation_batches(self, split: str, limit: int | None = None) -> Iterable[ArrayTree]:
        """Return batches of one shape with a `mask`, for all or `limit` examples."""

    @abc.abstractmethod
    def evaluation_sums(self, variables: ArrayTree, batch: ArrayTree) -> ArrayTree:
        """Return sums over the unmasked examples of a batch, which determine all metrics."""

    def evaluation_step(
        self, variables: ArrayTree, batch: ArrayTree
    ) -> tuple[ArrayTree, ArrayTree]:
        """Return the sums of a batch, and rows for metrics that do not follow from sums.

        The rows are arrays with an entry for each example of the batch. By default, the dictionary
        of rows is empty.
        """
        return self.evaluation_sums(variables, batch), {}

    def final_step(
        self, split: str
    ) -> Callable[[ArrayTree, ArrayTree], tuple[ArrayTree, ArrayTree]]:
        """Return the step of the final evaluation: it returns the sums, and rows for the report.

        The rows are arrays with an entry for each row of the batch.
        """
        del split
        return self.evaluation_step

    @abc.abstractmethod
    def metrics(self, sums: Mapping[str, Any], rows: Mapping[str, Any]) -> dict[str, Any]:
        """Return the metrics from the sums over a whole split, and from its rows if needed."""

    def fitted(
        self,
        workdir: Path,
        wanted: Sequence[str],
        checkpoint: str,
        step: int,
        validation: Callable[[int | None], dict[str, np.ndarray]] | None,
    ) -> Any:
        """Return the temperature or the thresholds that `report` applies to outputs, or None.

        Args:
          workdir: The run folder.
          wanted: (FIT,) or (THRESHOLDS,) for new values, names of runs, or empty for stored or
            suggested ones.
          checkpoint: Which weights were evaluated.
          step: The step of these weights.
          validation: A function that evaluates the run's validation split, or a number of evenly
            spaced examples of it, and returns the rows of `final_step`. None if the run has no
            validation split, or the evaluation is on other data.

        Raises:
          UserError: The task has neither a temperature nor thresholds, or the value cannot be
            determined.
        """
        del workdir, checkpoint, step, validation
        if wanted:
            raise UserError(
                f"{self.config.task} has neither a temperature nor thresholds; omit --temperature "
                "and --thresholds"
            )
        return None

    @abc.abstractmethod
    def report(
        self,
        variables: ArrayTree,
        split: str,
        sums: dict[str, np.ndarray],
        rows: dict[str, np.ndarray],
        fitted: Any = None,
    ) -> tuple[dict[str, Any], Callable[[Path], None]]:
        """Return the scores of the final evaluation, and a function that writes further files.

        `rows` are those of `final_step` for all batches, and `fitted` is the result of
        `Task.fitted`. Each process computes the whole report on one of its devices; one process
        writes.
        """

    def read_evaluation(self, folder: Path, split: str) -> Any:
        """Read an evaluation of another run, and check that it is on the examples of `split`.

        Raises:
          UserError: The task compares no evaluations, or this one has other examples.
        """
        raise UserError(f"{self.config.task} compares no evaluations; omit --compare")

    def compare(self, other: Any, split: str, rows: dict[str, np.ndarray]) -> dict[str, Any]:
        """Return the comparison of the rows of `report` with a result of `read_evaluation`."""
        raise NotImplementedError

    def pictures(
        self, split: str, rows: dict[str, np.ndarray], report: dict[str, Any]
    ) -> dict[str, bytes]:
        """Return pictures of the final evaluation for TensorBoard, PNG files by their names."""
        del split, rows, report
        return {}

    def page(
        self,
        variables: ArrayTree,
        split: str,
        rows: dict[str, np.ndarray],
        report: dict[str, Any],
        run: RunFacts,
        explain: Callable[..., Any],
    ) -> str | None:
        """Return a page in HTML about the final evaluation, None if the task has none.

        Args:
          variables: Those of `report`.
          split: The evaluated split.
          rows: Those of `report`.
          report: Everything that `eval.json` holds.
          run: Further facts of the run.
          explain: For images, see `netzoo.tasks.classification.thumbnails.Explain`.
        """
        del variables, split, rows, report, run, explain
        return None

    @abc.abstractmethod
    def show(self, report: dict[str, Any]) -> None:
        """Print the metrics and the scores of `report` in a few lines."""


def take_options(config: ConfigDict) -> Weights | None:
    """Set, in place, the network options of `init.weights`.

    Options that the configuration sets are kept.

    Returns:
      A description of the weights. None if the configuration names no weights, or if they are
      missing, e.g. in evaluation.

    Raises:
      UserError: The weights cannot be read or belong to another network.
    """
    path = config.init.weights
    if path is None:
        return None
    if not (is_hub_name(path) or run_path(path).exists() or published_weights(path)):
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
    """Create the network `config.model`; raise a UserError for an unknown network or option."""
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
    """Return the output of the network and its mutable collections.

    `train` turns on batch statistics and dropout; `key` is the random key of dropout.
    """
    mutable = [*(name for name in variables if name != "params"), AUXILIARY]
    options: dict[str, Any] = {"mutable": mutable, "rngs": {"dropout": key}, "method": method}
    groups = batch_norm_groups(config.train.batch_norm_groups)
    with groups, rematerialized_blocks(config.train.remat):
        return model.apply(variables, *inputs, train=train, **options)
