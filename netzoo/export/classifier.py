"""Classifiers as programs to export, and exported files as classifiers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy import special

import netzoo
from netzoo.errors import UserError, is_out_of_memory, printable
from netzoo.export.formats import read_program
from netzoo.export.program import LoadedProgram, Program
from netzoo.json_files import check_shape
from netzoo.tasks.classification.classifier import Classifier
from netzoo.tasks.classification.predictor import Predictor
from netzoo.weights.published import Preprocessing

_COLOR = [float, float, float]
_METADATA = {
    "model": str,
    "input": str,
    "output": str,
    "preprocessing": {
        **{"mean": _COLOR, "std": _COLOR, "resize_size": int, "crop_size": int},
        **{"interpolation": str, "crop_mode?": str},
    },
    "class_names": [str],
    "temperature": float,
}
_COLDEST = 1e-3  # the lowest temperature; its inverse is the highest
PIXELS, NORMALIZED = "uint8", "float32"  # dtypes of the images
LOGITS, PROBABILITIES = "logits", "probabilities"


def refuse_multi_label(multi_label: bool) -> None:
    """Raise a UserError for a multi-label run, whose thresholds no format can hold."""
    if multi_label:
        raise UserError(
            "a multi-label run cannot be exported: the formats have no thresholds; use netzoo "
            "predict, or Predictor.from_run in Python"
        )


def image_program(predictor: Predictor, model: str, with_preprocessing: bool = False) -> Program:
    """Return the evaluation of a network as a program.

    The program maps normalised images, float32 `[batch, size, size, 3]`, to logits. With
    preprocessing, it maps uint8 pixels to probabilities.

    Args:
      predictor: The network.
      model: The name of the network in the registry, for the metadata.
      with_preprocessing: Whether the program normalises, and applies temperature and softmax.

    Raises:
      UserError: The network is that of a multi-label run.
    """
    refuse_multi_label(predictor.thresholds is not None)
    size, images = predictor.preprocessing.crop_size, predictor.preprocessing
    dtype, output = (PIXELS, PROBABILITIES) if with_preprocessing else (NORMALIZED, LOGITS)

    def function(images):
        logits, probabilities = predictor.apply(predictor.variables, images)
        return (probabilities if with_preprocessing else logits,)

    metadata = {
        "model": model,
        "input": dtype,
        "output": output,
        "preprocessing": images._asdict(),
        "class_names": list(predictor.class_names),
        "temperature": predictor.temperature,
        "producer": f"netzoo {netzoo.__version__}",
    }
    shape = ("batch", size, size, 3)
    return Program(function, {"images": (shape, jnp.dtype(dtype))}, (output,), metadata)


class FileClassifier(Classifier):
    """Classifies images with an exported file.

    Attributes:
      model: The name of the network in netzoo's registry.
      output: "logits" or "probabilities".
      temperature: Divisor of the logits before the softmax.
    """

    def __init__(self, path: Path, batch_size: int = 32):
        """Read a file.

        Raises:
          UserError: The file is damaged, or not an exported classifier.
          OSError: The file cannot be read.
        """
        self.path, self._program = path, read_program(path)
        metadata = _checked(path, self._program)
        super().__init__(metadata["preprocessing"], metadata["class_names"], batch_size)
        self.model, self.output = metadata["model"], metadata["output"]
        self._dtype, self.temperature = metadata["input"], metadata["temperature"]

    def outputs(self, preprocessed: np.ndarray) -> np.ndarray:
        """Return the program's output for images from `preprocess`, float32 `[n, classes]`.

        Raises:
          UserError: The program does not fit the metadata.
        """
        images = np.asarray(preprocessed)
        if self._dtype == NORMALIZED:
            images = self.preprocessing.normalize(images)
        try:
            found = self.run(images)
        except Exception as error:  # of XLA, ONNX Runtime or LiteRT, each with its own classes
            if is_out_of_memory(error):
                raise
            reason = printable(" ".join(str(error).split()))[:200]
            raise UserError(
                f"the program in {self.path} does not run on images {images.dtype} "
                f"{list(images.shape)}, which its metadata describe; export it again: {reason}"
            ) from None
        self._check_outputs(found, len(images))
        return found

    def _check_outputs(self, found: np.ndarray, images: int) -> None:
        """Raise a UserError unless an array can be the logits or probabilities of images."""
        expected = (images, len(self.class_names))
        if found.shape != expected or found.dtype != np.float32:
            raise UserError(
                f"{self.path} gives an array {found.dtype} {list(found.shape)} for {images} "
                f"images; expected float32 {list(expected)}, a value for each of its class names; "
                "export it again"
            )
        if (
            self.output == PROBABILITIES
            and found.size
            and not 0 <= found.min() <= found.max() <= 1.01
        ):
            raise UserError(
                f"{self.path} gives values of {found.min():.3g} to {found.max():.3g} that its "
                "metadata call probabilities; expected 0 to 1; export it again"
            )

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the program's output for images of the dtype that it expects."""
        [found] = self._program.run(images)
        return np.asarray(found)

    def _finite_outputs(self, preprocessed: np.ndarray) -> np.ndarray:
        found = self.outputs(preprocessed)
        self.check_finite(found, str(self.path), "export it again")
        return found

    def logits(self, preprocessed: np.ndarray) -> np.ndarray:
        """Return the logits; for probabilities, their logarithms, which have the same softmax.

        Raises:
          UserError: See `outputs`; or a logit is not finite.
        """
        found = self._finite_outputs(preprocessed)
        if self.output == LOGITS:
            return found
        return np.log(np.maximum(found, np.finfo(np.float32).tiny))

    def probabilities(self, preprocessed: Sequence[np.ndarray]) -> np.ndarray:
        """Return the probabilities of at most `batch_size` images from `preprocess`."""
        found = self._finite_outputs(np.asarray(preprocessed))
        return special.softmax(found / self.temperature, -1) if self.output == LOGITS else found


def _checked(path: Path, program: LoadedProgram) -> dict[str, Any]:
    """Return the metadata of a program, with the preprocessing as `Preprocessing`.

    Raises:
      UserError: The metadata do not describe a classifier.
    """
    metadata = dict(program.metadata)
    try:
        check_shape(metadata, _METADATA)
        for key, known in (("input", (PIXELS, NORMALIZED)), ("output", (LOGITS, PROBABILITIES))):
            if metadata[key] not in known:
                raise ValueError(f"expected {' or '.join(known)} for {key}, got {metadata[key]!r}")
        if not _COLDEST <= metadata["temperature"] <= 1 / _COLDEST:
            raise ValueError(f"expected {_COLDEST:g} to {1 / _COLDEST:g} for the temperature")
        images = metadata["preprocessing"]
        fields = {name: images[name] for name in Preprocessing._fields if name in images}
        metadata["preprocessing"] = Preprocessing.checked(**fields)
        if not metadata["class_names"]:
            raise ValueError("expected at least one name in class_names")
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path} does not describe a classifier as files of `netzoo export` do: "
            f"{printable(str(error))}; export it again"
        ) from None
    return metadata
