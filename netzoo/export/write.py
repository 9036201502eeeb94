"""Writes an exported file, after comparing it with the network."""

from pathlib import Path
from typing import Any

import numpy as np

from netzoo.errors import UserError
from netzoo.export.check import LARGEST, Difference, Images, compare
from netzoo.export.classifier import FileClassifier, image_program
from netzoo.export.formats import FORMATS
from netzoo.export.program import reading_back
from netzoo.files import renaming, replacing
from netzoo.tasks.classification.predictor import Predictor


def export_classifier(
    predictor: Predictor,
    model: str,
    out: Path,
    file_format: str,
    images: Images,
    *,
    with_preprocessing: bool = False,
    precision: str = "float32",
    calibration: np.ndarray | None = None,
) -> Difference:
    """Write a network to a file, and return their largest difference on `images`.

    The file gets its name after the comparison.

    Args:
      predictor: The network.
      model: The name of the network in the registry, for the metadata.
      out: The file.
      file_format: A key of `FORMATS`.
      images: See `netzoo.export.check`.
      with_preprocessing: Whether the file maps uint8 pixels to probabilities, instead of normalised
        images to logits.
      precision: For LiteRT; see `netzoo.export.litert.write`. Only float32 has a limit for the
        difference.
      calibration: Preprocessed images for int8, uint8 `[n, crop_size, crop_size, 3]`.

    Raises:
      UserError: The difference is too large, a package is not installed, or the format cannot hold
        the network. The file is then not written.
    """
    program = image_program(predictor, model, with_preprocessing)
    options: dict[str, Any] = {}
    if precision != "float32":
        options["precision"] = precision
    if calibration is not None:
        inputs = (
            calibration if with_preprocessing else predictor.preprocessing.normalize(calibration)
        )
        options["calibration"] = np.split(inputs, len(inputs))
    with renaming(out) as partial:
        with replacing(partial) as opened:
            FORMATS[file_format].load().write(opened, program, **options)
        with reading_back(out, "; use --precision float16" if precision == "int8" else ""):
            file = FileClassifier(partial)
        found = compare(predictor, file, images)
        if precision == "float32" and found.relative > LARGEST:
            raise UserError(
                f"{out} was not written, because it and the network differ by more than "
                f"{LARGEST:g} over {images.described}: {found}"
            )
    return found
