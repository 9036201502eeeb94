"""What image classification has in common for one class in each image and for several."""

import abc
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from chex import ArrayTree
from ml_collections import ConfigDict

from netzoo.console import json_text
from netzoo.data.cache import with_cache
from netzoo.data.images import EvalBatches, TrainBatches
from netzoo.data.relabel import RelabelledSource
from netzoo.data.source import HeldOutSource, SkipCorrupt, Source, fingerprint_of
from netzoo.data.sources.open import open_source, split_sizes
from netzoo.errors import note
from netzoo.files import write_text
from netzoo.layers import AUXILIARY
from netzoo.mesh import process_shard
from netzoo.tasks.classification.balance import Balance
from netzoo.tasks.classification.classes import (
    check_class_names,
    check_kind_of_labels,
    with_matching_head,
)
from netzoo.tasks.classification.distill import Teachers
from netzoo.tasks.classification.inputs import network_inputs, train_batches
from netzoo.tasks.classification.losses import training_loss
from netzoo.tasks.classification.mix import normalize
from netzoo.tasks.classification.record import RECORD
from netzoo.tasks.classification.sizes import (
    batch_shapes,
    batch_size,
    check_image_sizes,
    size_notes,
)
from netzoo.tasks.classification.views import averaged_logits, view_size
from netzoo.tasks.task import Task, apply_in_training, create_network, take_options
from netzoo.weights import CATALOGUE
from netzoo.weights.class_names import CLASSES_FILE, load_class_names
from netzoo.weights.origin import find_weights
from netzoo.weights.recognise import taken

# Maps bytes to [-1, 1], for networks trained from random weights.
DEFAULT_NORMALIZATION = (127.5, 127.5, 127.5)


class ImageClassification(Task):
    """Trains a network on labelled images, which are normalised and mixed on the device."""

    throughput_unit = RECORD.throughput_unit

    @staticmethod
    def resolve(config: ConfigDict) -> None:
        """Fill in values that depend on the initial weights.

        Raises:
          UserError: The weights belong to another network, or are required and missing.
        """
        weights, data = take_options(config), config.data
        open_keys = [key for key in ("mean", "std") if data[key] is None]
        if open_keys and config.init.weights is not None:
            weights = weights or find_weights(config.init.weights)  # raises if missing
        images = weights and weights.preprocessing
        for key in open_keys:
            data[key] = getattr(images, key) if images else DEFAULT_NORMALIZATION
        if open_keys and weights and weights.known_from not in CATALOGUE:
            reason = weights.known_from if images else "their training settings are unknown"
            values = {f"data.{key}": data[key] for key in open_keys}
            note(taken(weights._replace(known_from=reason), values))

    @staticmethod
    def split_sizes(config: ConfigDict) -> Mapping[str, Callable[[], int]]:
        """Return, for each split of `data.source`, a function that counts the split's images."""
        return split_sizes(config.data.source, config.data.data_dir)

    def __init__(
        self,
        config: ConfigDict,
        workdir: Path | None = None,
        *,
        class_names: Sequence[str] | None = None,
    ):
        """Create the network, and open the training data unless `class_names` are given.

        Raises:
          UserError: The data or the network does not fit the configuration.
        """
        self.config = config
        self.skip_corrupt = SkipCorrupt() if config.data.on_corrupt == "skip" else None
        self._source = functools.cache(self._open)
        if class_names is None:
            self._open_training_data(workdir)
        else:
            self.class_names = tuple(class_names)
        self.model = create_network(config, len(self.class_names))
        if class_names is None and config.train.image_sizes:
            check_image_sizes(config, self.model)

    def _open_training_data(self, workdir: Path | None) -> None:
        """Set the class names, the batch size and the number of steps."""
        config, train = self.config, self._source(self.config.data.train_split)
        self.class_names = train.class_names
        check_class_names(config.data.source, self.class_names, workdir)
        self._train_batch = batch_size(config, len(train))
        self.steps_per_epoch = len(train) // self._train_batch
        self._balance = Balance(config, train, self.class_names)
        self._teachers = Teachers(config, len(self.class_names), self.class_names)
        self.constants, self.files = self._teachers.variables, self._teachers.files

    @classmethod
    def without_data(cls, config: ConfigDict, classes: int) -> tuple["Task", ArrayTree]:
        """Return a task that can compile but not run a training step, and the shapes of a batch.

        The images are the largest of `train.image_sizes`.
        """
        task = cls(config, class_names=tuple(map(str, range(classes))))
        task.steps_per_epoch = 1000  # any number, for the schedule
        task._balance = Balance(config, None, task.class_names)
        task._teachers = Teachers(config, classes)
        task.constants = task._teachers.variables
        return task, batch_shapes(config, classes)

    @classmethod
    def for_evaluation(cls, config: ConfigDict, workdir: Path) -> "Task":
        """Return the task of a run with the run's classes; it opens only the splits it evaluates.

        Raises:
          UserError: The class names of the run are missing or damaged.
        """
        return cls(config, class_names=load_class_names(workdir))

    def save(self, workdir: Path) -> None:
        """Write the class names in label order, for prediction."""
        text = json_text(list(self.class_names)) + "\n"
        write_text(workdir / CLASSES_FILE, text)

    def batch_sizes(self, *, training: bool = True) -> dict[str, int]:
        """Return the sizes of batches, and of their parts with gradient accumulation."""
        sizes = {"evaluation.batch_size": self.config.evaluation.batch_size}
        if training:
            part = self._train_batch // self.config.train.grad_accum_steps
            sizes["train.batch_size / train.grad_accum_steps"] = part
        return sizes

    def notes(self) -> list[str]:
        """Return the lines of `size_notes` and of the balance of the classes."""
        images = len(self._source(self.config.data.train_split))
        return [*size_notes(self.config, images), *self._balance.notes()]

    def fingerprint(self, split: str) -> dict[str, Any]:
        """Return the number of images, and the hashes of their names and labels."""
        return fingerprint_of(self._source(split))

    def count(self, batch: ArrayTree) -> int:
        """Return the number of images."""
        return len(batch["label"])

    def _open(self, split: str) -> Source:
        data, skip = self.config.data, self.skip_corrupt is not None
        source = open_source(data.source, split, data.data_dir, skip)
        check_kind_of_labels(source, multi_label=data.multi_label)
        if split == self.held_out:
            return HeldOutSource(source)
        return with_cache(source, data.cache)

    def init(self, key: jax.Array) -> ArrayTree:
        """Return initial variables; raise an error if the network rejects the image size."""
        size = self.config.data.image_size
        images = jnp.zeros((1, size, size, 3), jnp.float32)
        return self.model.init(key, images, train=False)

    def pretrained_variables(self, *, new_head: bool = False) -> ArrayTree | None:
        """Return the variables of `init.weights` with a head for the data's classes; None if unset.

        For the order of the head's classes, see `with_matching_head`.
        """
        load = super().pretrained_variables
        return with_matching_head(self.config.init.weights, self.class_names, load, new_head)

    def train_iterator(self) -> Iterator[ArrayTree]:
        """Return endless augmented batches; see `netzoo.data.images.TrainBatches`."""
        return iter(self.train_batches())

    def train_batches(self) -> TrainBatches:
        """Return the batches of `train_iterator` by their number."""
        own = {"batch_size": self._train_batch, "balance": self._balance.sampling}
        options = {**self._batch_options(), **own}
        return train_batches(self.config, self._source(self.config.data.train_split), **options)

    def _batch_options(self) -> dict[str, Any]:
        return {
            "batch_size": self.config.evaluation.batch_size,
            "image_size": self.config.data.image_size,
            "num_threads": self.config.data.num_threads,
            "shard": process_shard(),
            "skip_corrupt": self.skip_corrupt,
        }

    def loss(
        self, variables: ArrayTree, batch: ArrayTree, key: jax.Array
    ) -> tuple[jax.Array, ArrayTree, ArrayTree]:
        """Return the mean loss, the new statistics, and the loss with `step_metrics`.

        Auxiliary losses are multiplied by the network's `auxiliary_weight` and added. With mixup or
        CutMix, the metrics use the label of the larger part.
        """
        config, classes = self.config, len(self.class_names)
        (images, targets, labels), dropout_key = network_inputs(config, classes, batch, key)
        train = not config.train.freeze_batch_norm
        logits, model_state = apply_in_training(
            config, self.model, variables, images, train=train, key=dropout_key
        )
        taught = self._teachers.probabilities(self.constants, images)
        weights = self._balance.weights
        loss_of = functools.partial(training_loss, config, targets, taught, weights)
        loss = loss_of(logits)
        for auxiliary in model_state.pop(AUXILIARY, {}).values():
            loss += self.model.auxiliary_weight * loss_of(auxiliary)
        return loss, model_state, {"loss": loss, **self.step_metrics(logits, labels)}

    @abc.abstractmethod
    def step_metrics(self, logits: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
        """Return metrics of a training batch."""

    def evaluation_batches(self, split: str, limit: int | None = None) -> Iterable[ArrayTree]:
        """Return batches of all examples of the split, or of `limit` evenly spaced examples.

        The names of the classes determine the labels. The split may lack classes of the run.

        Raises:
          SourceError: The split has a class that the run does not have.
        """
        tta, crop_pct = self.config.evaluation.tta, self.config.evaluation.crop_pct
        side, crop_pct = view_size(tta, self.config.data.image_size, crop_pct)
        options = {**self._batch_options(), "image_size": side}
        return EvalBatches(self.labelled(split), crop_pct=crop_pct, limit=limit, **options)

    def labelled(self, split: str) -> Source:
        """Return the examples of a split, whose labels index the class names of the task.

        Raises:
          SourceError: The split has another class.
        """
        return RelabelledSource(self._source(split), self.class_names)

    def _logits(self, variables: ArrayTree, batch: ArrayTree) -> Any:
        data = self.config.data
        images = normalize(batch["image"], data.mean, data.std)

        def logits_of(images: jax.Array) -> Any:
            return self.model.apply(variables, images, train=False)

        return averaged_logits(logits_of, images, self.config.evaluation.tta, data.image_size)
