"""Compares an exported file with the network that it comes from, over images."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from netzoo.data.batching import evenly_spaced
from netzoo.data.files import ImageError
from netzoo.data.source import SourceError
from netzoo.export.classifier import LOGITS, FileClassifier
from netzoo.tasks import run_config
from netzoo.tasks.classification.prediction_inputs import find_images
from netzoo.tasks.classification.predictor import Predictor
from netzoo.tasks.classification.single_label import SingleLabelClassification

LARGEST = 1e-4  # largest difference of files in float32, relative to the largest output
IMAGES = 16  # number of images that are compared
_ALONE = 1  # images of the first batch, so that the comparison has two batch sizes


class Images(NamedTuple):
    """Preprocessed images, and where they come from."""

    pixels: np.ndarray  # uint8 [n, crop_size, crop_size, 3]
    names: list[str]
    described: str


class Difference(NamedTuple):
    """The largest difference between the outputs of a file and of its network."""

    relative: float  # to the largest output of the network
    image: str
    class_name: str
    output: str  # "logits" or "probabilities"

    def __str__(self) -> str:
        largest = "logit" if self.output == LOGITS else "probability"
        return (
            f"largest difference {self.relative:.1e} of the largest {largest}, at {self.image} for "
            f"{self.class_name!r}"
        )


def compare(predictor: Predictor, file: FileClassifier, images: Images) -> Difference:
    """Return the largest difference over images, in batches of one image and of all others.

    A difference that is not a number counts as infinite.
    """
    expected = _batched(predictor, images.pixels, file.output)
    batches = images.pixels[:_ALONE], images.pixels[_ALONE:]
    found = np.concatenate([file.outputs(batch) for batch in batches if len(batch)])
    error = np.abs(found.astype(np.float64) - expected) / np.abs(expected).max()
    error = np.where(np.isnan(error), np.inf, error)
    row, column = np.unravel_index(error.argmax(), error.shape)
    name, label = images.names[row], predictor.class_names[column]
    return Difference(float(error[row, column]), name, label, file.output)


def _batched(predictor: Predictor, pixels: np.ndarray, output: str) -> np.ndarray:
    function = predictor.logits if output == LOGITS else predictor.probabilities
    size = predictor.batch_size
    return np.concatenate(
        [function(list(pixels[i : i + size])) for i in range(0, len(pixels), size)]
    )


def named_images(predictor: Predictor, paths: Sequence[str]) -> Images:
    """Return the images that paths name (see `find_images`), at most `IMAGES`, evenly spaced.

    Raises:
      UserError: The folders do not contain images, or an image cannot be read.
    """
    files = find_images(paths)
    return read_images(predictor, [files[i] for i in evenly_spaced(len(files), IMAGES)])


def read_images(predictor: Predictor, files: Sequence[Path]) -> Images:
    """Return the images of files.

    Raises:
      UserError: An image cannot be read.
    """
    pixels = np.stack([predictor.preprocess(path) for path in files])
    return Images(pixels, [str(path) for path in files], f"{len(files)} images of --images")


def run_images(
    predictor: Predictor,
    workdir: Path,
    config: ConfigDict,
    *,
    training: bool = False,
    count: int = IMAGES,
) -> Images | None:
    """Return `count` images of a run's validation split or, without one, of its training split.

    With `training`, the images are always from the training split. The result is None if the data
    cannot be opened, e.g. on another machine.
    """
    try:
        config = run_config(workdir, config)
        task = SingleLabelClassification.for_evaluation(config, workdir)
        assert isinstance(task, SingleLabelClassification)
        split = (not training and config.data.validation_split) or config.data.train_split
        source = task.labelled(split)
        examples = [source[int(i)] for i in evenly_spaced(len(source), count)]
        pixels = np.stack([predictor.preprocess(example["image"]) for example in examples])
    except (SourceError, ImageError, OSError):
        return None
    names = [example["name"] for example in examples]
    return Images(pixels, names, f"{len(names)} images of {config.data.source} {split}")


def painted_images(predictor: Predictor) -> Images:
    """Return drawn flowers, which need no data set."""
    # Only these images need the module, which registers a data set.
    from netzoo.data.sources.synthetic.builder import draw_example

    drawn = [draw_example("train", index)[0] for index in range(IMAGES)]
    pixels = np.stack([predictor.preprocess(image) for image in drawn])
    names = [f"drawn flower {index}" for index in range(IMAGES)]
    return Images(pixels, names, f"{IMAGES} drawn flowers (--images gives others)")
