"""Writes a network in several formats, and measures the files beside the network."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from netzoo.errors import UserError
from netzoo.export.check import Images
from netzoo.export.classifier import FileClassifier
from netzoo.export.formats import FORMATS, installed_formats
from netzoo.export.litert import PRECISIONS
from netzoo.export.write import export_classifier
from netzoo.kernels import compiler_options
from netzoo.tasks.classification.predictor import Predictor
from netzoo.timing import interleaved_times

NETWORK = "jax.jit"  # the network itself, as netzoo runs it on this machine
_WARM_UP = 3  # calls before the clock starts


class Kind(NamedTuple):
    """A kind of file: a format and the precision of its numbers."""

    format: str  # a key of `FORMATS`
    precision: str = "float32"

    def path(self, folder: Path) -> Path:
        """Return the name of a file of this kind in a folder."""
        return folder / f"{self.precision}{FORMATS[self.format].suffix}"


KINDS = {
    "stablehlo": Kind("stablehlo"),
    "onnx": Kind("onnx"),
    **{f"litert {precision}": Kind("litert", precision) for precision in PRECISIONS},
}


class Measured(NamedTuple):
    """The measurements of the network or of a file; None for a missing measurement."""

    name: str  # `NETWORK`, or a key of `KINDS`
    size: int | None  # bytes of the file, or of the network's variables
    difference: float | None  # the largest, relative to the largest logit
    milliseconds: float | None  # median time of one image
    note: str = ""  # why the file is missing, or the images that gave the ranges of int8


def benchmark(
    predictor: Predictor,
    model: str,
    images: Images,
    calibration: Images,
    repeats: int,
    kinds: Sequence[str] | None = None,
) -> list[Measured]:
    """Return the size, the difference and the latency of a network and of its files.

    Args:
      predictor: The network.
      model: The name of the network in the registry.
      images: The images over which network and files are compared.
      calibration: The images that determine the ranges of int8.
      repeats: Number of timed calls; 0 measures no latency.
      kinds: Keys of `KINDS`; None for those whose packages are installed.
    """
    rows = [measured_network(predictor)]
    with tempfile.TemporaryDirectory(prefix="netzoo-") as folder:
        for kind in installed_kinds() if kinds is None else kinds:
            rows.append(measured_file(predictor, model, kind, Path(folder), images, calibration))
        written = [row.name for row in rows[1:] if row.size is not None]
        times = latencies(predictor, written, Path(folder), images, repeats)
    return [row._replace(milliseconds=times.get(row.name)) for row in rows]


def installed_kinds() -> list[str]:
    """Return the keys of the kinds whose packages are installed."""
    return [name for name, kind in KINDS.items() if kind.format in installed_formats()]


def measured_network(predictor: Predictor) -> Measured:
    """Return the row of the network itself, without its latency."""
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(predictor.variables))
    return Measured(NETWORK, size, 0.0, None)


def measured_file(
    predictor: Predictor,
    model: str,
    kind: str,
    folder: Path,
    images: Images,
    calibration: Images,
) -> Measured:
    """Write a file of a kind into a folder, and return its row without its latency.

    For the arguments, see `benchmark`. If the file cannot be written, the row gives the reason.
    """
    file_format, precision = KINDS[kind]
    path, int8 = KINDS[kind].path(folder), precision == "int8"
    try:
        found = export_classifier(
            predictor,
            model,
            path,
            file_format,
            images,
            precision=precision,
            calibration=calibration.pixels if int8 else None,
        )
    except UserError as error:
        return Measured(kind, None, None, None, str(error))
    note = f"ranges from {calibration.described}" if int8 else ""
    return Measured(kind, path.stat().st_size, found.relative, None, note)


def latencies(
    predictor: Predictor, kinds: Sequence[str], folder: Path, images: Images, repeats: int
) -> dict[str, float]:
    """Return the median milliseconds from one normalised image in memory to its logits.

    The network and its files in a folder take turns, so that other work on the machine affects all
    of them alike. Without repeats, the result is empty.
    """
    if not repeats:
        return {}
    image = predictor.preprocessing.normalize(images.pixels[:1])
    calls = {NETWORK: _network(predictor, image)}
    calls |= {kind: _file(FileClassifier(KINDS[kind].path(folder)), image) for kind in kinds}
    times = interleaved_times(calls, repeats, "measuring", _WARM_UP)
    return {name: float(np.median(values)) for name, values in times.items()}


def _network(predictor: Predictor, image: np.ndarray) -> Callable[[], object]:
    apply = jax.jit(
        lambda variables, images: predictor.apply(variables, images)[0],
        compiler_options=compiler_options(),
    )
    return lambda: np.asarray(apply(predictor.variables, image))


def _file(file: FileClassifier, image: np.ndarray) -> Callable[[], object]:
    return lambda: file.run(image)
