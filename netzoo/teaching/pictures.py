"""The images that lessons train on, decoded and in memory."""

from typing import NamedTuple

import numpy as np

from netzoo.data import open_source
from netzoo.data.images import evaluation_image
from netzoo.progress import track

# A lesson never reads the images that results are reported on: the test split of the drawn
# flowers, and `train[80%:]` of tf_flowers (docs/leaderboard.md).
TRAIN, VALIDATION = "train[:64%]", "train[64%:80%]"


class Pictures(NamedTuple):
    """Labelled images for training and validation.

    Attributes:
      train: uint8 `[examples, size, size, 3]`.
      train_labels: int32 `[examples]`.
      validation: uint8 `[examples, size, size, 3]`; no network trains on them.
      validation_labels: int32 `[examples]`.
      class_names: The names of the classes.
    """

    train: np.ndarray
    train_labels: np.ndarray
    validation: np.ndarray
    validation_labels: np.ndarray
    class_names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)


def load_pictures(
    spec: str,
    image_size: int,
    train: int | None = None,
    validation: int | None = None,
    *,
    data_dir: str | None = None,
) -> Pictures:
    """Read images at `image_size` pixels, at most `train` and `validation` of them.

    Raises:
      SourceError: The source cannot be opened; see `netzoo.data.open_source`.
    """
    train_images, train_labels, class_names = _read(spec, TRAIN, image_size, train, data_dir)
    images, labels, _ = _read(spec, VALIDATION, image_size, validation, data_dir)
    return Pictures(train_images, train_labels, images, labels, class_names)


def _read(
    spec: str, split: str, image_size: int, limit: int | None, data_dir: str | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return images, evenly spread over a split, their labels and the names of the classes."""
    source = open_source(spec, split, data_dir)
    count = min(len(source), limit or len(source))
    images = np.empty((count, image_size, image_size, 3), np.uint8)
    labels = np.empty(count, np.int32)
    indices = np.linspace(0, len(source) - 1, count).astype(int)
    for row, index in enumerate(track(indices, f"reading {split}")):
        example = source[int(index)]
        images[row] = evaluation_image(example["image"], example["name"], image_size, crop_pct=1.0)
        labels[row] = example["label"]
    return images, labels, source.class_names
