"""Classifies images with the weights of a run, or with published weights."""

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from netzoo.errors import UserError, note
from netzoo.figures import check_format
from netzoo.progress import track
from netzoo.tasks.classification.figures import prediction_sheet
from netzoo.tasks.classification.prediction_inputs import find_images
from netzoo.tasks.classification.prediction_output import (
    FORMATS,
    Predictions,
    format_of,
    writing,
)
from netzoo.tasks.classification.predictor import Predictor
from netzoo.workdir.outputs import check_apart, check_writable


class Options(NamedTuple):
    """Options of prediction, which are also flags of `netzoo predict`."""

    checkpoint: str = "last"  # or "best" or "average"
    top_k: int = 3  # number of classes per image; a multi-label run predicts any number of them
    # Write [{"path": ..., "predictions": [{"class": ..., "probability": ...}]}] instead of a table.
    json: bool = False
    jsonl: bool = False  # write each of these objects in its own line
    csv: bool = False  # write a line for each image: path, class_1, probability_1, class_2, ...
    figure: str | None = None  # file for a figure of images and classes, e.g. sheet.png
    output: str | None = None  # file for the predictions instead of standard output
    tta: str | None = None  # "flip" or "crops" instead of the run's evaluation.tta


def load(config: ConfigDict, workdir: Path, checkpoint: str) -> Predictor:
    """Load the network of a run; see `Predictor.from_run`."""
    return Predictor.from_run(workdir, checkpoint, config)


def predict(config: ConfigDict, workdir: Path, paths: Sequence[str], options: Options) -> int:
    """Classify images with a run; see `classify`.

    Raises:
      UserError: The configuration is invalid, the run cannot be read, or `classify` raises it.
    """

    def loaded() -> Predictor:
        predictor = load(config, workdir, options.checkpoint)
        return predictor.with_tta(options.tta or config.evaluation.tta)

    return classify(loaded, paths, options)


def predict_with_weights(
    weights: str, model: str | None, paths: Sequence[str], options: Options
) -> int:
    """Classify images with published weights or those of a file; see `classify`.

    For the first two arguments, see `Predictor.from_weights`.

    Raises:
      UserError: The weights cannot be read, or `classify` raises it.
    """
    return classify(
        lambda: Predictor.from_weights(weights, model).with_tta(options.tta or "none"),
        paths,
        options,
    )


def classify(load: Callable[[], Predictor], paths: Sequence[str], options: Options) -> int:
    """Classify images, and print a table, JSON, JSON lines or CSV.

    For `paths`, see `netzoo.tasks.classification.prediction_inputs`. `load` is called after the
    paths and the options were checked.

    Returns:
      The exit status: 0; 1 if an image cannot be read; or 130 after Ctrl-C. Unreadable images are
      reported on standard error, and all others are classified. Ctrl-C ends the prediction, and the
      results until then are printed.

    Raises:
      UserError: No image is given, the format is unknown, or an output file cannot be written.
    """
    format_ = format_of([name for name in FORMATS if getattr(options, name)], options.output)
    check_writable(options.figure, options.output)
    check_format(options.figure)
    files = find_images(paths)
    check_apart((options.figure, options.output), files)
    predictor = load()
    top_k = min(options.top_k, len(predictor.class_names))
    if predictor.thresholds is not None:  # all classes above their thresholds
        top_k = len(predictor.class_names)
    sheet: tuple[Predictions, list[np.ndarray]] = [], []

    def keep(predictions: Predictions, images: list[np.ndarray]) -> None:
        if options.figure:
            sheet[0].extend(predictions)
            sheet[1].extend(images)

    with writing(format_, options.output, top_k) as add:
        status = _classify(predictor, files, top_k, add, keep)
    if options.output:
        note(f"written: {options.output}")
    if options.figure and sheet[0]:
        rows = [(path.name, scores) for path, scores in sheet[0]]
        prediction_sheet(sheet[1], rows, options.figure)
        note(f"written: {options.figure}")
    return status


def _classify(
    predictor: Predictor,
    files: Sequence[Path],
    top_k: int,
    add: Callable[[Predictions], None],
    keep: Callable[[Predictions, list[np.ndarray]], None],
) -> int:
    """Classify files in batches, report those that cannot be read, and return the status."""
    size, status, done = predictor.batch_size, 0, 0
    try:
        for start in track(range(0, len(files), size), "predicting"):
            read, images = [], []
            for path in files[start : start + size]:
                try:
                    images.append(predictor.preprocess(path))
                    read.append(path)
                except UserError as error:
                    note(f"error: {error}")
                    status = 1
            if images:
                scores = predictor.predicted(predictor.probabilities(images), top_k)
                predictions = list(zip(read, scores, strict=True))
                add(predictions)
                keep(predictions, images)
                done += len(read)
    except KeyboardInterrupt:
        note(f"interrupted: {done:,} of {len(files):,} images were classified")
        status = 128 + signal.SIGINT
    return status
