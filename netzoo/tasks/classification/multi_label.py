"""Image classification with any number of classes in an image: one sigmoid for each class."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy
from chex import ArrayTree

from netzoo.console import print_table, say
from netzoo.data.source import class_text, example_name
from netzoo.errors import UserError
from netzoo.mesh import is_writer
from netzoo.progress import format_metric
from netzoo.tasks.classification.image_classification import ImageClassification
from netzoo.tasks.classification.multi_label_page import multi_label_page
from netzoo.tasks.classification.multi_label_scores import (
    best_thresholds,
    multi_label_scores,
    score_cells,
)
from netzoo.tasks.classification.predictions import PREDICTIONS_FILE, write_multi_label
from netzoo.tasks.classification.thresholds import save_thresholds, stored_thresholds
from netzoo.tasks.classification.thumbnails import Explain, thumbnails
from netzoo.tasks.run_facts import RunFacts
from netzoo.tasks.task import THRESHOLDS

_SCORES = ("average_precision", "threshold", "precision", "recall", "f1")
Arrays = dict[str, np.ndarray]


class MultiLabelClassification(ImageClassification):
    """Trains a network on images with label vectors; see `data.multi_label`."""

    main_metric = "mean_average_precision"

    def step_metrics(self, logits: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
        """Return the F1 of all decisions at the probability 0.5."""
        chosen, positive = logits > 0, labels > 0.5
        hits = (chosen & positive).sum()
        return {"micro_f1": 2 * hits / jnp.maximum(chosen.sum() + positive.sum(), 1)}

    def evaluation_sums(self, variables: ArrayTree, batch: ArrayTree) -> ArrayTree:
        """Return the sum of the binary cross-entropies, each averaged over classes, and a count."""
        return self._sums(self._logits(variables, batch), batch)

    def _sums(self, logits: jax.Array, batch: ArrayTree) -> ArrayTree:
        losses = optax.sigmoid_binary_cross_entropy(logits, batch["label"]).mean(-1)
        mask = batch["mask"]
        return {"loss_sum": jnp.where(mask, losses, 0).sum(), "count": mask.sum()}

    def evaluation_step(
        self, variables: ArrayTree, batch: ArrayTree
    ) -> tuple[ArrayTree, ArrayTree]:
        """Return the sums, and the logits and labels, from which the average precision follows."""
        logits = self._logits(variables, batch)
        rows = {"logits": logits, "label": batch["label"], "mask": batch["mask"]}
        return self._sums(logits, batch), rows

    def metrics(self, sums: Mapping[str, Any], rows: Mapping[str, Any]) -> dict[str, Any]:
        """Return the loss and the scores at the threshold 0.5; see `multi_label_scores`."""
        loss = float(sums["loss_sum"]) / max(int(sums["count"]), 1)
        scores = multi_label_scores(*_readable(rows), self.class_names)
        return {**scores, "loss": loss if np.isfinite(loss) else None}

    def fitted(
        self,
        workdir: Path,
        wanted: Sequence[str],
        checkpoint: str,
        step: int,
        validation: Callable[[int | None], Arrays] | None,
    ) -> np.ndarray | None:
        """Return the thresholds of these weights, chosen on the validation split or stored."""
        if not wanted:
            return stored_thresholds(workdir, checkpoint, step, self.class_names)
        if tuple(wanted) != (THRESHOLDS,):
            raise UserError("a multi-label run has thresholds, not a temperature: use --thresholds")
        assert validation  # `evaluate_run` has checked it
        found = best_thresholds(*_readable(validation(None)))
        if is_writer():
            split = self.config.data.validation_split
            save_thresholds(workdir, found, checkpoint, step, split)
        return found

    def report(
        self,
        variables: ArrayTree,
        split: str,
        sums: Arrays,
        rows: Arrays,
        fitted: Any = None,
    ) -> tuple[dict[str, Any], Callable[[Path], None]]:
        """Return the scores at the thresholds, and a function that writes the predictions."""
        del variables
        source = self._source(split)
        probabilities, labels = _readable(rows)
        report = {
            **multi_label_scores(probabilities, labels, self.class_names, fitted),
            "class_names": list(self.class_names),
            "multi_label": True,
            "own_thresholds": fitted is not None,
            "left_out": len(source) - int(sums["count"]),
        }

        def write(folder: Path) -> None:
            names = [example_name(source, int(index)) for index in np.flatnonzero(rows["mask"])]
            truth = [class_text(label, self.class_names) for label in labels]
            found = zip(names, truth, probabilities, strict=True)
            write_multi_label(folder / PREDICTIONS_FILE, found, self.class_names)

        return report, write

    def read_evaluation(self, folder: Path, split: str) -> Any:
        """Raise a UserError: comparisons need one class in each image."""
        raise UserError("a multi-label run cannot be compared with another; omit --compare")

    def page(
        self,
        variables: ArrayTree,
        split: str,
        rows: Arrays,
        report: dict[str, Any],
        run: RunFacts,
        explain: Explain,
    ) -> str | None:
        """Return the page of `netzoo.tasks.classification.multi_label_page`."""
        del variables, explain
        source = self._source(split)
        picture = thumbnails(source, self.config.evaluation.crop_pct)
        index = np.flatnonzero(rows["mask"])
        return multi_label_page(report, index, *_readable(rows), source, picture, run)

    def show(self, report: dict[str, Any]) -> None:
        """Print the table of classes and the scores."""
        cells = (
            (entry["name"], *score_cells(entry, _SCORES), str(entry["support"] or "no images"))
            for entry in report["per_class"]
        )
        names = [name.replace("_", " ") for name in _SCORES]
        print_table(("class", *names, "images"), cells, right=(*names, "images"))
        if report["left_out"]:
            say(f"{report['left_out']:,} corrupt images are left out")
        say(
            f"mean average precision {format_metric(report['mean_average_precision'])}, "
            f"micro F1 {format_metric(report['micro_f1'])}, macro F1 {report['macro_f1']:.4f}, "
            f"all classes right {report['exact_match']:.2%}, "
            f"loss {format_metric(report['loss'])}, "
            f"{report['count']:,} images of {report['split']}"
        )
        if not report["own_thresholds"]:
            say("the thresholds are 0.5; --thresholds chooses others on the validation split")


def _readable(rows: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities and labels of the evaluated images, without padding, in float64."""
    present = np.flatnonzero(rows["mask"])
    logits = rows["logits"][present].astype(np.float64)
    return scipy.special.expit(logits), rows["label"][present]
