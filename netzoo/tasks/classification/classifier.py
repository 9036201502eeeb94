"""The interface of everything that classifies images: networks and exported files."""

import abc
import os
from collections.abc import Sequence

import numpy as np

from netzoo.data.files import read_file
from netzoo.data.images import evaluation_image
from netzoo.errors import UserError
from netzoo.paths import user_path
from netzoo.weights.published import Preprocessing

ImageLike = np.ndarray | bytes | str | os.PathLike[str]


class Classifier(abc.ABC):
    """Maps images of any size to class probabilities.

    Attributes:
      preprocessing: The preprocessing of images.
      class_names: The names of the classes, in the order of the probabilities.
      batch_size: The number of images that are classified at once.
      thresholds: Smallest probability of a predicted class, `[classes]`, if an image may have any
        number of classes; None if each image has one class.
    """

    thresholds: np.ndarray | None = None

    def __init__(
        self, preprocessing: Preprocessing, class_names: Sequence[str], batch_size: int = 32
    ):
        """Set the attributes."""
        self.preprocessing, self.class_names = preprocessing, tuple(class_names)
        self.batch_size = batch_size

    def __call__(self, images: ImageLike | Sequence[ImageLike]) -> np.ndarray:
        """Return the probabilities of the classes, float32 `[n, classes]`.

        An image is the path or the bytes of a file, or RGB pixels uint8 `[height, width, 3]`.
        Images may differ in size.

        Raises:
          UserError: A file cannot be read or decoded, or an array is not uint8 `[H, W, 3]`.
        """
        if isinstance(images, np.ndarray):
            sequence = list(images) if images.ndim == 4 else [images]
        elif isinstance(images, Sequence) and not isinstance(images, bytes | str):
            sequence = list(images)
        else:
            sequence = [images]
        answers = [np.zeros((0, len(self.class_names)), np.float32)]
        for first in range(0, len(sequence), self.batch_size):
            batch = map(self.preprocess, sequence[first : first + self.batch_size])
            answers.append(self.probabilities(list(batch)))
        return np.concatenate(answers)

    def preprocess(self, image: ImageLike) -> np.ndarray:
        """Return the preprocessed image, uint8 `[crop_size, crop_size, 3]`.

        Raises:
          UserError: See `__call__`.
        """
        images, size = self.preprocessing, self.preprocessing.crop_size
        name = "the image"
        if isinstance(image, str | os.PathLike):
            name, image = str(image), read_file(user_path(image), str(image))
        elif not isinstance(image, bytes):
            shape: tuple[int, ...] = getattr(image, "shape", ())
            dtype = getattr(image, "dtype", type(image).__name__)
            is_rgb = len(shape) == 3 and shape[2] == 3 and 0 not in shape
            if not (is_rgb and isinstance(image, np.ndarray) and dtype == np.uint8):
                raise UserError(
                    "expected an image as a path, the bytes of a file, or a NumPy array uint8 "
                    "[height, width, 3] with red, green and blue from 0 to 255; got "
                    f"{dtype} {shape or ''}"
                )
        how = images.interpolation, images.crop_mode
        return evaluation_image(image, name, size, size / images.resize_size, *how)

    @staticmethod
    def check_finite(outputs: np.ndarray, source: str, advice: str) -> None:
        """Raise a UserError with advice if outputs `[n, classes]` of a source are not finite."""
        finite = np.isfinite(outputs).all(-1)
        if not finite.all():
            raise UserError(
                f"{source} gives values that are not finite for {np.sum(~finite):,} of "
                f"{len(finite):,} images, most likely because its weights are not; {advice}"
            )

    @abc.abstractmethod
    def probabilities(self, preprocessed: Sequence[np.ndarray]) -> np.ndarray:
        """Return the probabilities of at most `batch_size` images from `preprocess`."""

    def top_k(self, probabilities: np.ndarray, k: int) -> list[list[tuple[str, float]]]:
        """Return names and probabilities of the `k` most probable classes per row, best first.

        Ties go to the lower index.
        """
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
        return [
            [(self.class_names[index], float(row[index])) for index in indices]
            for row, indices in zip(probabilities, best, strict=True)
        ]

    def predicted(self, probabilities: np.ndarray, k: int) -> list[list[tuple[str, float]]]:
        """Return the predicted classes: the best `k`, or all that reach their `thresholds`."""
        if self.thresholds is None:
            return self.top_k(probabilities, k)
        limits = dict(zip(self.class_names, self.thresholds.tolist(), strict=True))
        ranked = self.top_k(probabilities, len(limits))
        return [[(name, p) for name, p in row if p >= limits[name]] for row in ranked]
