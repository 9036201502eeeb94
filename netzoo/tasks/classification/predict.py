"""Classifies images with the weights of a run."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from netzoo.console import json_text, print_table, say
from netzoo.data.files import images_below, left_out
from netzoo.errors import UserError, note, note_once
from netzoo.figures import check_format
from netzoo.paths import user_path
from netzoo.progress import track
from netzoo.tasks.classification.figures import prediction_sheet
from netzoo.tasks.classification.predictor import Predictor
from netzoo.workdir.outputs import check_writable

Predictions = list[tuple[Path, list[tuple[str, float]]]]  # images and classes, best first


class Options(NamedTuple):
    """Options of prediction, which are also flags of `netzoo predict`."""

    checkpoint: str = "last"  # or "best" or "average"
    top_k: int = 3  # number of classes per image
    # Print [{"path": ..., "predictions": [{"class": ..., "probability": ...}]}] instead of a table.
    json: bool = False
    figure: str | None = None  # file for a figure of images and classes, e.g. sheet.png


def predict(config: ConfigDict, workdir: Path, paths: Sequence[str], options: Options) -> int:
    """Classify images, including those in folders, and print a table or JSON.

    Returns:
      The exit status: 0; 1 if an image cannot be read; or 130 after Ctrl-C. Unreadable images are
      reported on standard error, and all others are classified. Ctrl-C ends the prediction, and the
      results until then are printed.

    Raises:
      UserError: The configuration is invalid, no image is given, the run cannot be read, or
        `options.figure` cannot be written.
    """
    check_writable(options.figure)
    check_format(options.figure)
    files = _find(paths)
    predictor = Predictor.from_run(workdir, options.checkpoint, config)
    predictions: Predictions = []
    thumbnails, size, status = [], predictor.batch_size, 0
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
                scores = predictor.top_k(predictor.probabilities(images), options.top_k)
                predictions += zip(read, scores, strict=True)
                thumbnails += images if options.figure else []
    except KeyboardInterrupt:
        note(f"interrupted: {len(predictions):,} of {len(files):,} images were classified")
        status = 128 + signal.SIGINT
    (_print_json if options.json else _print_table)(predictions)
    if options.figure and predictions:
        rows = [(path.name, scores) for path, scores in predictions]
        prediction_sheet(thumbnails, rows, options.figure)
        note(f"written: {options.figure}")
    return status


def _find(paths: Sequence[str]) -> list[Path]:
    """Return the images in folders, and all other paths unchanged, even if missing."""
    files = []
    for path in map(user_path, paths):
        if path.is_dir():
            images, others = images_below(path)
            files += sorted(images)
            if others:
                note_once(f"{path}: {left_out(others)}")
        else:
            files.append(path)
    if not files:
        missing = f"no images in {', '.join(map(str, paths))}" if paths else "no images given"
        raise UserError(
            f"{missing}; pass images, or folders with images named .jpg, .png, .webp or the like"
        )
    return files


def _print_json(predictions: Predictions) -> None:
    entries = [
        {
            "path": str(path),
            "predictions": [{"class": name, "probability": value} for name, value in scores],
        }
        for path, scores in predictions
    ]
    say(json_text(entries))


def _print_table(predictions: Predictions) -> None:
    if predictions:
        places = (f"{place}." for place in range(1, len(predictions[0][1]) + 1))
        rows = (
            (str(path), *(f"{name} {value:.1%}" for name, value in scores))
            for path, scores in predictions
        )
        print_table(("image", *places), rows)
