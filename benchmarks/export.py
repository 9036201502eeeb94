"""Measures exported files of one network of every family, beside the network itself.

python -m benchmarks.export --out results/export/families.csv [--images photos] [--repeats 100]

Sizes do not depend on the values of the weights, so random weights suffice. Latencies are medians
for one image at a time, and the network and the files take turns. They need a quiet machine.
`--repeats 0` leaves them out. `--table` prints the file as Markdown without measuring.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from chex import ArrayTree

from netzoo.console import say
from netzoo.csv_files import read_csv, write_csv
from netzoo.export.benchmark import NETWORK, benchmark
from netzoo.export.check import named_images, painted_images
from netzoo.models import create_model, model_entry
from netzoo.models.summary import variable_shapes
from netzoo.tasks.classification.predictor import Predictor
from netzoo.weights.published import GOOGLE_IMAGES, TORCHVISION_IMAGES

# One network of each structure.
MODELS = (
    *("alexnet", "vgg16_bn", "googlenet_bn", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large"),
    *("resnet50", "resnext50_32x4d", "vit_ti16", "r_ti16"),
)
COLUMNS = ("model", "pixels", "format", "bytes", "difference", "milliseconds")
CLASSES = 1000


def random_variables(shapes: ArrayTree, seed: int = 0) -> ArrayTree:
    """Return float32 variables that keep the scale of activations, with statistics about 1."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        if path[-1].key in ("scale", "var"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        width = (2 / np.prod(leaf.shape[:-1])) ** 0.5 if path[-1].key == "kernel" else 0.1
        return (width * rng.standard_normal(leaf.shape, np.float32)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def measure(name: str, paths: Sequence[str], repeats: int) -> list[tuple]:
    """Return the rows of a network."""
    size = model_entry(name).image_size
    images = GOOGLE_IMAGES if name in ("vit_ti16", "r_ti16") else TORCHVISION_IMAGES
    model = create_model(name, CLASSES)
    variables = random_variables(variable_shapes(model, size))
    names = tuple(map(str, range(CLASSES)))
    predictor = Predictor(model, variables, images.at(size), names, batch_size=16)
    shown = named_images(predictor, paths) if paths else painted_images(predictor)
    return [(name, size, *row) for row in benchmark(predictor, name, shown, repeats)]


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows of the file as a Markdown table with a line for each network."""
    formats = list(dict.fromkeys(row[2] for row in rows))
    timed = any(row[5] for row in rows)
    head = ["network", "pixels"]
    for name in formats:
        head.append(f"{name}, MB")
        head += [f"{name}, difference"] if name != NETWORK else []
        head += [f"{name}, ms"] if timed else []
    lines = [f"| {' | '.join(head)} |", f"|---|{'--:|' * (len(head) - 1)}"]
    for model in dict.fromkeys(row[0] for row in rows):
        own = {row[2]: row for row in rows if row[0] == model}
        cells = [model, own[NETWORK][1]]
        for name in formats:
            _, _, _, size, difference, milliseconds = own[name]
            cells.append(f"{int(size) / 1e6:,.1f}")
            cells += [f"{float(difference):.1e}"] if name != NETWORK else []
            cells += [f"{float(milliseconds):,.1f}"] if timed else []
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def read(path: Path) -> list[tuple[str, ...]]:
    """Return the rows of a file of this command."""
    return read_csv(path, COLUMNS, lambda *texts: texts, "a file of benchmarks.export")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", nargs="+", default=MODELS)
    parser.add_argument("--images", nargs="+", default=(), help="images or folders of images")
    parser.add_argument("--repeats", type=int, default=100, help="timed calls (100)")
    parser.add_argument("--out", type=Path, required=True, help="CSV file")
    parser.add_argument("--table", action="store_true", help="print the file as Markdown")
    options = parser.parse_args()
    if not options.table:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        rows: list[tuple] = []
        for name in options.model:
            rows += measure(name, options.images, options.repeats)
            write_csv(options.out, COLUMNS, rows)
    say(table(read(options.out)))


if __name__ == "__main__":
    main()
