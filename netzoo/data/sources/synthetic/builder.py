"""A TFDS data set of synthetic flowers with the classes of `tf_flowers`.

It replaces photographs in tests and in a first run on a machine without a network. It needs no
TensorFlow.
"""

import functools
from collections.abc import Iterator
from typing import Any, ClassVar

import cv2
import numpy as np
import tensorflow_datasets as tfds

from netzoo.data.sources.synthetic import painter
from netzoo.data.sources.tfds import FILE_FORMAT, download_and_prepare, preparing
from netzoo.errors import note
from netzoo.paths import user_path
from netzoo.progress import track

# The order of tf_flowers, so that logits have the same meaning for both data sets.
CLASS_NAMES = ("dandelion", "daisy", "tulips", "sunflowers", "roses")
SPLIT_SIZES = {"train": 3000, "test": 750}

_SEED = 20240229
_SPLIT_SEEDS = {"train": 0, "test": 1}


def draw_example(split: str, index: int) -> tuple[np.ndarray, int]:
    """Draw an example deterministically: a uint8 image [96, 96, 3] and its label.

    `index` is the position in the split before TFDS shuffles it. The classes alternate.
    """
    label = index % len(CLASS_NAMES)
    rng = np.random.default_rng([_SEED, _SPLIT_SEEDS[split], index])
    return painter.paint(CLASS_NAMES[label], rng), label


def _encode(image: np.ndarray) -> bytes:
    # TFDS encodes arrays with TensorFlow, but stores bytes unchanged.
    flags = [cv2.IMWRITE_JPEG_QUALITY, 92]
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)[1].tobytes()


class SyntheticFlowers(tfds.core.GeneratorBasedBuilder):
    """Five classes of procedurally drawn flowers."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}

    def _info(self) -> tfds.core.DatasetInfo:
        shape = (painter.IMAGE_SIZE, painter.IMAGE_SIZE, 3)
        return self.dataset_info_from_configs(
            description=(
                "Procedurally drawn pictures of the five flowers of tf_flowers. Petal colours "
                "overlap between the classes: shape and texture tell them apart."
            ),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=shape, encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=list(CLASS_NAMES)),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # there is nothing to download
        return {split: self._generate_examples(split) for split in SPLIT_SIZES}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        indices = range(SPLIT_SIZES[split])
        for index in track(indices, f"drawing {split}"):
            image, label = draw_example(split, index)
            yield index, {"image": _encode(image), "label": label}


def prepare(data_dir: str | None = None) -> tfds.core.DatasetBuilder:
    """Return the builder of the data set in `data_dir`; generate the data set if it is missing.

    TFDS writes into a temporary directory and renames it at the end, so an interrupted preparation
    leaves no partial data set.
    """
    folder = data_dir and user_path(data_dir)
    create = functools.partial(SyntheticFlowers, data_dir=folder, file_format=FILE_FORMAT)
    builder = create()
    if builder.info.splits:
        return builder
    with preparing(builder) as absent:
        if absent:
            total = sum(SPLIT_SIZES.values())
            note(f"Generating {total} synthetic flowers into {builder.data_dir} ...")
            # TFDS would announce a download, and its progress bars would fill a log with names.
            tfds.disable_progress_bar()
            download_and_prepare(builder, quiet=True)
    return builder if absent else create()
