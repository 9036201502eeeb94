"""Image classification with one class in each image: softmax or binary cross-entropy."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from chex import ArrayTree

from netzoo.console import print_table, say
from netzoo.data.duplicates import read_pairs
from netzoo.data.source import example_name
from netzoo.errors import UserError, note
from netzoo.tasks.classification.image_classification import ImageClassification
from netzoo.tasks.classification.metrics import metrics_from_sums
from netzoo.tasks.classification.page import Rows, report_page
from netzoo.tasks.classification.pictures import evaluation_pictures
from netzoo.tasks.classification.predictor import Predictor
from netzoo.tasks.classification.report import RATIOS, class_rows, kept_rows, report_of, score_lines
from netzoo.tasks.classification.sums import batch_sums
from netzoo.tasks.classification.temperature import temperature_of
from netzoo.tasks.classification.thumbnails import Explain, heat_maps, thumbnails
from netzoo.tasks.classification.versus import Evaluation, compare, read_evaluation
from netzoo.tasks.run_facts import RunFacts
from netzoo.tasks.task import THRESHOLDS
from netzoo.weights.published import Preprocessing

# The final evaluation keeps at most this many logits (0.4 GB).
_MOST_LOGITS = 100_000_000
Arrays = dict[str, np.ndarray]


class SingleLabelClassification(ImageClassification):
    """Trains a network on images with one class each."""

    main_metric = "accuracy"

    @property
    def _top_k(self) -> int:
        return min(self.config.evaluation.top_k, len(self.class_names))

    def step_metrics(self, logits: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
        """Return the accuracy of a training batch."""
        return {"accuracy": (logits.argmax(-1) == labels).mean()}

    def evaluation_sums(self, variables: ArrayTree, batch: ArrayTree) -> ArrayTree:
        """Return the sums described in `netzoo.tasks.classification.metrics`."""
        return batch_sums(self._logits(variables, batch), batch, self._top_k)

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
