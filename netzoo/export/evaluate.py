"""Evaluates an exported file on labelled images, as runs are evaluated."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from chex import ArrayTree
from ml_collections import ConfigDict

from netzoo.console import json_text
from netzoo.data.images import EvalBatches
from netzoo.errors import UserError
from netzoo.export.classifier import LOGITS, FileClassifier
from netzoo.files import sha256_of, write_text
from netzoo.models import list_models
from netzoo.progress import track
from netzoo.tasks import resolve_config
from netzoo.tasks.classification.calibration import Temperature
from netzoo.tasks.classification.single_label import SingleLabelClassification
from netzoo.training.evaluation import evaluate_rows
from netzoo.workdir import EVAL_FILE
from netzoo.workdir.environment import commit, versions
from netzoo.workdir.outputs import check_results_folder, check_writable


class _FileTask(SingleLabelClassification):
    """Image classification whose logits come from a file."""

    def __init__(self, config: ConfigDict, file: FileClassifier):
        """Take the classes of `file`; `config` names the data."""
        self._file = file
        super().__init__(config, class_names=file.class_names)

    def _logits(self, variables: ArrayTree, batch: ArrayTree) -> Any:
        return jnp.asarray(self._file.logits(batch["image"]))

    def evaluation_batches(self, split: str, limit: int | None = None) -> Iterable[ArrayTree]:
        """Return batches with the preprocessing of the file."""
        images = self._file.preprocessing
        return EvalBatches(
            self.labelled(split),
            crop_pct=images.crop_size / images.resize_size,
            interpolation=images.interpolation,
            crop_mode=images.crop_mode,
            limit=limit,
            **self._batch_options(),
        )


def evaluate_file(
    path: Path, config: ConfigDict, out: Path | None = None, compare: Path | None = None
) -> dict[str, Any]:
    """Evaluate a file on `data.test_split`, print the scores, and write them into a folder.

    Classes are matched by name, and the scores are those of `netzoo.training.evaluate_run`.

    Args:
      path: The file.
      config: A configuration that names the data; its network is ignored.
      out: Folder for eval.json, the predictions and the figures; None writes nothing.
      compare: Folder of the results of another evaluation of the same images.

    Returns:
      The contents of `eval.json`.

    Raises:
      UserError: The file or the data cannot be read, or do not fit each other.
    """
    if jax.process_count() > 1:
        raise UserError("an exported file is evaluated by one process; start only one")
    if out is not None:
        check_results_folder(out)
        out.mkdir(parents=True, exist_ok=True)
        check_writable(str(out / EVAL_FILE))
    file = FileClassifier(path, config.evaluation.batch_size)
    task = _FileTask(_described(config, file), file)
    split = task.config.data.test_split
    other = task.read_evaluation(compare, split) if compare else None
    batches = track(task.evaluation_batches(split), f"evaluating on {split}")
    sums, rows = evaluate_rows(task.final_step(split), {}, batches, lambda batch: batch)
    scaled = file.output == LOGITS and file.temperature != 1
    temperature = Temperature(file.temperature) if scaled else None
    details, draw_figures = task.report({}, split, sums, rows, temperature)
    report = {
        **task.metrics(sums, rows),
        **details,
        **({"comparison": task.compare(other, split, rows)} if other else {}),
        "split": split,
        "file": {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path)},
        "model": file.model,
        "preprocessing": file.preprocessing._asdict(),
        "data": {"source": config.data.source, **task.fingerprint(split)},
        "versions": versions(),
        "commit": commit(),
    }
    task.show(report)
    if out is not None:
        write_text(out / EVAL_FILE, json_text(report, pretty=True) + "\n")
        draw_figures(out)
    return report


def _described(config: ConfigDict, file: FileClassifier) -> Any:
    """Return a configuration with the image size of a file, and its network if netzoo knows it."""
    config = ConfigDict(config)
    if file.model in list_models():
        config.model = {"name": file.model, "dtype": "float32"}
    config.init.weights = None
    config.data.image_size = file.preprocessing.crop_size
    return resolve_config(config, open_data=False)
