"""Measures exported files of one network of every family, beside the network itself.

python -m benchmarks.export --out results/export/families.csv --images photos --files exported
python -m benchmarks.export --out results/export/families.csv --images photos --files exported \
    --repeats 50

The first command writes a file of every format whose packages are installed, and measures sizes and
differences. If --out exists, the command measures only the rows that are missing in it. Sizes do
not depend on the values of the weights, so random weights suffice. The second command measures all
latencies of the same files again: medians for one image at a time. The network and the files take
turns. Run the second command on a machine without other work. `--table` prints the rows as Markdown
without measuring.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from chex import ArrayTree

from netzoo.console import markdown_table, say
from netzoo.csv_files import read_csv, write_csv
from netzoo.data.batching import evenly_spaced
from netzoo.export.benchmark import (
    KINDS,
    NETWORK,
    Measured,
    installed_kinds,
    latencies,
    measured_file,
    measured_network,
)
from netzoo.export.check import IMAGES, Images, painted_images, read_images
from netzoo.models import create_model, model_entry
from netzoo.models.summary import variable_shapes
from netzoo.tasks.classification.prediction_inputs import find_images
from netzoo.tasks.classification.predictor import Predictor
from netzoo.weights.published import GOOGLE_IMAGES, TORCHVISION_IMAGES

# One network of each structure.
MODELS = (
    *("alexnet", "vgg16_bn", "googlenet_bn", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large"),
    *("resnet50", "resnext50_32x4d", "vit_ti16", "r_ti16"),
)
CLASSES = 1000
FORMATS = (NETWORK, *KINDS)
_CALIBRATION = 16  # images; more take many minutes for the larger networks
_NOT_INSTALLED = "not installed"


class Row(NamedTuple):
    """The measurements of a network in a format; None for a missing measurement."""

    model: str
    pixels: int
    format: str  # one of `FORMATS`
    bytes: int | None
    difference: float | None
    milliseconds: float | None
    note: str = ""


class Rows:
    """The rows of a CSV file, which is written after every change."""

    def __init__(self, path: Path):
        """Read the file, if it exists."""
        self._path = path
        rows = read(path) if path.exists() else []
        self._rows = {(row.model, row.format): row for row in rows}

    def get(self, model: str, name: str) -> Row | None:
        """Return the row of a network in a format."""
        return self._rows.get((model, name))

    def put(self, row: Row) -> None:
        """Add or replace a row."""
        self._rows[row.model, row.format] = row
        places = [*dict.fromkeys((*MODELS, *(model for model, _ in self._rows)))]
        write_csv(
            self._path,
            Row._fields,
            sorted(
                self._rows.values(),
                key=lambda row: (places.index(row.model), FORMATS.index(row.format)),
            ),
        )


def random_variables(shapes: ArrayTree, seed: int = 0) -> ArrayTree:
    """Return float32 variables that keep the scale of activations, with statistics about 1."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        if path[-1].key in ("scale", "var"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        width = (2 / np.prod(leaf.shape[:-1])) ** 0.5 if path[-1].key == "kernel" else 0.1
        return (width * rng.standard_normal(leaf.shape, np.float32)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def random_network(name: str) -> Predictor:
    """Return a network with random weights."""
    size = model_entry(name).image_size
    images = GOOGLE_IMAGES if name in ("vit_ti16", "r_ti16") else TORCHVISION_IMAGES
    model = create_model(name, CLASSES)
    variables = random_variables(variable_shapes(model, size))
    names = tuple(map(str, range(CLASSES)))
    return Predictor(model, variables, images.at(size), names, batch_size=16)


def images_of(predictor: Predictor, paths: Sequence[str]) -> tuple[Images, Images]:
    """Return the images of the comparison, and others that determine the ranges of int8.

    Without paths, both are the same drawn flowers.
    """
    if not paths:
        return painted_images(predictor), painted_images(predictor)
    files = find_images(paths)
    compared = [files[i] for i in evenly_spaced(len(files), IMAGES)]
    others = [path for path in files if path not in set(compared)] or compared
    others = [others[i] for i in evenly_spaced(len(others), _CALIBRATION)]
    described = f"{len(others)} other images of {', '.join(Path(path).name for path in paths)}"
    return (
        read_images(predictor, compared),
        read_images(predictor, others)._replace(described=described),
    )


def measure(name: str, rows: Rows, paths: Sequence[str], folder: Path, repeats: int) -> None:
    """Measure the missing rows of a network and, with `repeats`, its latencies.

    Args:
      name: The network.
      rows: The results.
      paths: Images, or folders of images.
      folder: The folder of the exported files; missing files are written.
      repeats: Number of timed calls; 0 leaves out the latencies.
    """
    missing = [kind for kind in FORMATS if _is_missing(rows.get(name, kind), folder, repeats)]
    if not (missing or repeats):
        return
    predictor = random_network(name)
    images, calibration = images_of(predictor, paths)
    folder.mkdir(parents=True, exist_ok=True)
    for kind in missing:
        if kind == NETWORK:
            found = measured_network(predictor)
        elif kind in installed_kinds():
            found = measured_file(predictor, name, kind, folder, images, calibration)
        elif rows.get(name, kind) is None:
            found = Measured(kind, None, None, None, _NOT_INSTALLED)
        else:
            continue
        rows.put(Row(name, images.pixels.shape[1], *found))
    written = [kind for kind in installed_kinds() if KINDS[kind].path(folder).exists()]
    for kind, milliseconds in latencies(predictor, written, folder, images, repeats).items():
        row = rows.get(name, kind)
        assert row is not None  # the network and all written files have rows
        rows.put(row._replace(milliseconds=milliseconds))


def _is_missing(row: Row | None, folder: Path, repeats: int) -> bool:
    """Return whether the size is missing, or the file that the latency needs."""
    if row is None or row.bytes is None:
        return True
    return bool(repeats) and row.format != NETWORK and not KINDS[row.format].path(folder).exists()


def table(rows: Sequence[Row], column: str, form: str, scale: float = 1.0) -> str:
    """Return a column as a Markdown table with a line for each network.

    Args:
      rows: The rows.
      column: A field of `Row`.
      form: The format of its numbers.
      scale: Factor of its numbers.
    """
    formats = [name for name in FORMATS if any(row.format == name for row in rows)]
    lines = []
    for model in dict.fromkeys(row.model for row in rows):
        own = {row.format: row for row in rows if row.model == model}
        cells = []
        for name in formats:
            value = getattr(own[name], column) if name in own else None
            absent = _NOT_INSTALLED if name in own and own[name].note == _NOT_INSTALLED else "-"
            cells.append(absent if value is None else f"{scale * value:{form}}")
        lines.append([model, *cells])
    return markdown_table([("network", False), *((name, True) for name in formats)], lines)


def tables(rows: Sequence[Row]) -> list[str]:
    """Return the tables of the sizes, of the differences and of the latencies."""
    files = [row for row in rows if row.format != NETWORK]
    return [
        table(rows, "bytes", ",.1f", 1e-6),
        table(files, "difference", ".1e"),
        table(rows, "milliseconds", ",.1f"),
    ]


def read(path: Path) -> list[Row]:
    """Return the rows of a file of this command."""

    def row(model, pixels, name, size, difference, milliseconds, note) -> Row:
        numbers = (float(text) if text else None for text in (difference, milliseconds))
        return Row(model, int(pixels), name, int(size) if size else None, *numbers, note)

    return read_csv(path, Row._fields, row, "a file of benchmarks.export")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", nargs="+", default=MODELS)
    parser.add_argument("--images", nargs="+", default=(), help="images or folders of images")
    files = "folder of the exported files (default: a temporary one)"
    parser.add_argument("--files", type=Path, help=files)
    parser.add_argument("--repeats", type=int, default=0, help="timed calls (default: none)")
    parser.add_argument("--out", type=Path, required=True, help="CSV file")
    parser.add_argument("--table", action="store_true", help="print the file as Markdown")
    options = parser.parse_args()
    if not options.table:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        rows = Rows(options.out)
        with tempfile.TemporaryDirectory(prefix="netzoo-") as temporary:
            for name in options.model:
                folder = (options.files or Path(temporary)) / name
                measure(name, rows, options.images, folder, options.repeats)
    say("\n\n".join(tables(read(options.out))))


if __name__ == "__main__":
    main()
