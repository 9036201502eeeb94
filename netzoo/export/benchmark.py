"""Writes a network in several formats, and measures the files beside the network."""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from netzoo.export.check import Images
from netzoo.export.classifier import FileClassifier
from netzoo.export.formats import FORMATS, installed_formats
from netzoo.export.write import export_classifier
from netzoo.kernels import compiler_options
from netzoo.progress import track
from netzoo.tasks.classification.predictor import Predictor

NETWORK = "jax.jit"  # the network itself, as netzoo runs it on this machine
_WARM_UP = 3  # calls before the clock starts


class Measured(NamedTuple):
    """The measurements of the network or of a file."""

    name: str  # `NETWORK`, or a key of `FORMATS`
    size: int  # bytes of the file, or of the network's variables
    difference: float  # the largest, relative to the largest logit
    milliseconds: float | None  # median time of one image; None if it was not measured


def benchmark(
    predictor: Predictor,
    model: str,
    images: Images,
    repeats: int,
    formats: Sequence[str] | None = None,
) -> list[Measured]:
    """Return the size, the difference and the latency of a network and of its files.

    The latency is the median time from one normalised image in memory to its logits. The network
    and the files take turns, so that all of them meet the same load of the machine.

    Args:
      predictor: The network.
      model: The name of the network in the registry.
      images: The images over which network and files are compared.
      repeats: Number of timed calls; 0 measures no latency.
      formats: Keys of `FORMATS`; None for those whose packages are installed.

    Raises:
      UserError: See `export_classifier`.
    """
    image = predictor.preprocessing.normalize(images.pixels[:1])
    calls: dict[str, Callable[[], object]] = {NETWORK: _network(predictor, image)}
    sizes, differences = {NETWORK: _bytes(predictor)}, {NETWORK: 0.0}
    with tempfile.TemporaryDirectory(prefix="netzoo-") as folder:
        for name in installed_formats() if formats is None else formats:
            path = Path(folder) / f"network{FORMATS[name].suffix}"
            found = export_classifier(predictor, model, path, name, images)
            sizes[name], differences[name] = path.stat().st_size, found.relative
            calls[name] = _file(FileClassifier(path), image)
    times = _times(calls, repeats)
    return [Measured(name, sizes[name], differences[name], times.get(name)) for name in calls]


def _network(predictor: Predictor, image: np.ndarray) -> Callable[[], object]:
    apply = jax.jit(
        lambda variables, images: predictor.apply(variables, images)[0],
        compiler_options=compiler_options(),
    )
    return lambda: np.asarray(apply(predictor.variables, image))


def _file(file: FileClassifier, image: np.ndarray) -> Callable[[], object]:
    return lambda: file.run(image)


def _bytes(predictor: Predictor) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(predictor.variables))


def _times(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median milliseconds of each call."""
    if not repeats:
        return {}
    for call in calls.values():
        for _ in range(_WARM_UP):
            call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in track(range(repeats), "measuring"):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - began)
    return {name: 1e3 * statistics.median(times) for name, times in taken.items()}
