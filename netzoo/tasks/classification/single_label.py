"""Image classification: one label per image, softmax or binary cross-entropy."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from chex import ArrayTree
from ml_collections import ConfigDict

from netzoo.console import json_text, print_table, say
from netzoo.data.cache import with_cache
from netzoo.data.duplicates import read_pairs
from netzoo.data.images import EvalBatches, TrainBatches
from netzoo.data.relabel import RelabelledSource
from netzoo.data.source import HeldOutSource, SkipCorrupt, Source, example_name, fingerprint_of
from netzoo.data.sources.open import open_source, split_sizes
from netzoo.errors import UserError, note
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
from netzoo.tasks.classification.metrics import metrics_from_sums
from netzoo.tasks.classification.mix import normalize
from netzoo.tasks.classification.page import Rows, report_page
from netzoo.tasks.classification.pictures import evaluation_pictures
from netzoo.tasks.classification.predictor import Predictor
from netzoo.tasks.classification.record import RECORD
from netzoo.tasks.classification.report import RATIOS, class_rows, kept_rows, report_of, score_lines
from netzoo.tasks.classification.sizes import (
    batch_shapes,
    batch_size,
    check_image_sizes,
    size_notes,
)
from netzoo.tasks.classification.sums import batch_sums
from netzoo.tasks.classification.temperature import temperature_of
from netzoo.tasks.classification.thumbnails import Explain, heat_maps, thumbnails
from netzoo.tasks.classification.versus import Evaluation, compare, read_evaluation
from netzoo.tasks.classification.views import averaged_logits, view_size
from netzoo.tasks.run_facts import RunFacts
from netzoo.tasks.task import THRESHOLDS, Task, apply_in_training, create_network, take_options
from netzoo.weights import CATALOGUE
from netzoo.weights.class_names import CLASSES_FILE, load_class_names
from netzoo.weights.origin import find_weights
from netzoo.weights.published import Preprocessing
from netzoo.weights.recognise import taken

# The final evaluation keeps at most this many logits (0.4 GB).
_MOST_LOGITS = 100_000_000
# Maps bytes to [-1, 1], for networks trained from random weights.
DEFAULT_NORMALIZATION = (127.5, 127.5, 127.5)
Arrays = dict[str, np.ndarray]


class ImageClassification(Task):
    """Trains a network on labelled images, which are normalised and mixed on the device."""

    main_metric = "accuracy"
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

    @property
    def _top_k(self) -> int:
        return min(self.config.evaluation.top_k, len(self.class_names))

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
        """Return the mean loss, the new statistics, and the metrics loss and accuracy.

        Auxiliary losses are multiplied by the network's `auxiliary_weight` and added. With mixup or
        CutMix, accuracy uses the label of the larger part.
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

    def step_metrics(self, logits: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
        """Return the accuracy of a training batch."""
        return {"accuracy": (logits.argmax(-1) == labels).mean()}

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

    def evaluation_sums(self, variables: ArrayTree, batch: ArrayTree) -> ArrayTree:
        """Return the sums described in `netzoo.tasks.classification.metrics`."""
        return batch_sums(self._logits(variables, batch), batch, self._top_k)

    def _logits(self, variables: ArrayTree, batch: ArrayTree) -> Any:
        data = self.config.data
        images = normalize(batch["image"], data.mean, data.std)

        def logits_of(images: jax.Array) -> Any:
            return self.model.apply(variables, images, train=False)

        return averaged_logits(logits_of, images, self.config.evaluation.tta, data.image_size)

    def final_step(
        self, split: str
    ) -> Callable[[ArrayTree, ArrayTree], tuple[ArrayTree, ArrayTree]]:
        """Return the step of the final evaluation; its rows are logits, labels and masks.

        A split with too many logits for the host's memory has no rows.
        """
        if self.config.evaluation.duplicates:
            read_pairs(self.config.evaluation.duplicates)  # fails now, not at the end
        if len(self._source(split)) * len(self.class_names) > _MOST_LOGITS:
            note(f"{split} is too large to keep its predictions; only their sums are reported")
            return super().final_step(split)

        def step(variables, batch):
            logits = self._logits(variables, batch)
            rows = {"logits": logits, "label": batch["label"], "mask": batch["mask"]}
            return batch_sums(logits, batch, self._top_k), rows

        return step

    def metrics(self, sums: Mapping[str, Any], rows: Mapping[str, Any]) -> dict[str, Any]:
        """Return the metrics of a split; see `metrics_from_sums`."""
        del rows
        return metrics_from_sums(sums, self.class_names, self._top_k)

    def fitted(
        self,
        workdir: Path,
        wanted: Sequence[str],
        checkpoint: str,
        step: int,
        validation: Callable[[int | None], Arrays] | None,
    ) -> Any:
        """Return the temperature of these weights; see `temperature_of`."""
        if tuple(wanted) == (THRESHOLDS,):
            raise UserError("thresholds belong to runs with data.multi_label; omit --thresholds")
        split = self.config.data.validation_split
        return temperature_of(workdir, wanted, checkpoint, step, split, validation)

    def report(
        self,
        variables: ArrayTree,
        split: str,
        sums: Arrays,
        rows: Arrays,
        fitted: Any = None,
    ) -> tuple[dict[str, Any], Callable[[Path], None]]:
        """Return the confusion matrix, the class names and the calibration.

        The returned function writes the predictions, and draws the matrix and the reliability.
        """
        del variables
        title = f"{self.config.model.name} on {self.config.data.source} {split}"
        source, confusion = self._source(split), sums["confusion"]
        duplicates = self.config.evaluation.duplicates
        return report_of(source, self.class_names, title, confusion, rows, fitted, duplicates)

    def read_evaluation(self, folder: Path, split: str) -> Evaluation:
        """Read an evaluation of another run on the images of `split`."""
        return read_evaluation(folder, self._source(split), self.class_names)

    def compare(self, other: Evaluation, split: str, rows: dict[str, np.ndarray]) -> dict[str, Any]:
        """Return the comparison; see `netzoo.tasks.classification.versus.compare`."""
        logits, labels = kept_rows(rows)
        present, source = np.flatnonzero(rows["mask"]), self._source(split)
        names = [example_name(source, int(index)) for index in present]
        return compare(other, names, logits.argmax(-1) == labels)

    def pictures(self, split: str, rows: Arrays, report: dict[str, Any]) -> dict[str, bytes]:
        """Return the confusion matrix and example predictions."""
        crop_pct = self.config.evaluation.crop_pct
        return evaluation_pictures(report, Rows.of(rows), self._source(split), crop_pct)

    def page(
        self,
        variables: ArrayTree,
        split: str,
        rows: Arrays,
        report: dict[str, Any],
        run: RunFacts,
        explain: Explain,
    ) -> str | None:
        """Return the page of `netzoo.tasks.classification.page`, with small pictures."""
        source, config = self._source(split), self.config
        predictor = Predictor(self.model, variables, Preprocessing.of_run(config), self.class_names)
        picture = thumbnails(source, config.evaluation.crop_pct)
        heat = functools.partial(heat_maps, source, predictor, explain)
        found = report, Rows.of(rows), source, picture, run
        return report_page(*found, trained_on=split == config.data.train_split, heat=heat)

    def show(self, report: dict[str, Any]) -> None:
        """Print the table of classes and the accuracy."""
        print_table(("class", *RATIOS, "images"), class_rows(report), right=(*RATIOS, "images"))
        for line in score_lines(report, self._top_k):
            say(line)
