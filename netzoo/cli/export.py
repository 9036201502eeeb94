"""Exports a network to a file that runs without netzoo, and compares both over images.

netzoo export --workdir runs/v2 --format stablehlo --out flowers.stablehlo
netzoo export --workdir runs/v2 --benchmark [--out formats.csv]
netzoo export --weights resnet50.tv2_in1k --format stablehlo --out r50.stablehlo --images photos

BatchNorm is folded into the convolutions. The file holds class names and preprocessing. It maps
normalised images to logits; with --with-preprocessing, it maps uint8 pixels to probabilities.
docs/export.md shows how to use the files.
"""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from netzoo.cli import launch
from netzoo.cli.arguments import typed_path
from netzoo.config import default_config, load_config
from netzoo.console import print_table, say
from netzoo.csv_files import write_csv
from netzoo.errors import UserError
from netzoo.paths import run_path
from netzoo.workdir import WEIGHTS
from netzoo.workdir.outputs import check_writable

if TYPE_CHECKING:
    from netzoo.export.check import Images
    from netzoo.tasks.classification.predictor import Predictor


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    from netzoo.export.formats import FORMATS

    parser = launch.parser("export", __doc__, needs_workdir=False)
    which = "weights of the run (default: last)"
    parser.add_argument("--checkpoint", choices=WEIGHTS, default="last", help=which)
    weights = "published name or file of weights, instead of --workdir"
    parser.add_argument("--weights", metavar="NAME", help=weights)
    parser.add_argument("--model", help="network, for a file of weights that does not name it")
    parser.add_argument("--format", choices=FORMATS, help="format of the file")
    measure = (
        "write every format to a temporary folder, and print sizes, differences and times of one "
        "image; --out is then a CSV file"
    )
    parser.add_argument("--benchmark", action="store_true", help=measure)
    repeats = "timed calls for --benchmark (default: 100)"
    parser.add_argument("--repeats", type=int, default=100, metavar="N", help=repeats)
    parser.add_argument("--out", type=typed_path, metavar="FILE", help="file to write")
    inside = "map uint8 pixels to probabilities inside the file"
    parser.add_argument("--with-preprocessing", action="store_true", help=inside)
    images = (
        "images or folders of images to compare file and network (default: those of the run, else "
        "drawn flowers)"
    )
    parser.add_argument("--images", nargs="+", metavar="PATH", help=images)
    launch.run(parser, arguments, _export, read=_config_of)


def _config_of(options: argparse.Namespace) -> ConfigDict:
    if (options.workdir is None) == (options.weights is None):
        raise UserError("give either --workdir DIR, the folder of a run, or --weights NAME")
    return default_config() if options.workdir is None else load_config(options.workdir)


def _export(config: ConfigDict, options: argparse.Namespace) -> None:
    if options.benchmark:
        _benchmark(config, options)
    else:
        _write(config, options)


def _benchmark(config: ConfigDict, options: argparse.Namespace) -> None:
    from netzoo.export.benchmark import Measured, benchmark
    from netzoo.mesh import check_devices

    if options.format or options.with_preprocessing or options.repeats < 1:
        raise UserError(
            "--benchmark measures every format without preprocessing, at least once: omit --format "
            "and --with-preprocessing, and give --repeats at least 1"
        )
    check_writable(options.out and str(options.out))
    check_devices()
    predictor, model = _network(config, options)
    images = _images(predictor, config, options)
    found = benchmark(predictor, model, images, options.repeats)
    rows = [
        (x.name, f"{x.size / 1e6:,.1f}", f"{x.difference:.1e}", f"{x.milliseconds:,.2f}")
        for x in found
    ]
    head = ("format", "MB", "largest difference", "ms for one image")
    print_table(head, rows, right=head[1:])
    say(f"compared over {images.described}; medians of {options.repeats} interleaved calls")
    if options.out:
        write_csv(options.out, Measured._fields, found, typed=True)


def _write(config: ConfigDict, options: argparse.Namespace) -> None:
    from netzoo.export.formats import FORMATS
    from netzoo.export.write import export_classifier
    from netzoo.mesh import check_devices

    if not (options.format and options.out):
        raise UserError("give --format and --out FILE, or --benchmark")
    out, suffix = options.out, FORMATS[options.format].suffix
    if out.suffix != suffix:
        raise UserError(f"--out {out}; expected a name that ends with {suffix}")
    check_writable(str(out))
    check_devices()
    predictor, model = _network(config, options)
    images = _images(predictor, config, options)
    inside = options.with_preprocessing
    found = export_classifier(
        predictor, model, out, options.format, images, with_preprocessing=inside
    )
    say(f"file and network agree over {images.described}: {found}")
    say(f"written: {out}, {out.stat().st_size / 1e6:,.1f} MB")


def _network(config: ConfigDict, options: argparse.Namespace) -> tuple["Predictor", str]:
    """Return the network, and its name in the registry."""
    from netzoo.tasks.classification.predictor import Predictor
    from netzoo.weights.origin import find_weights

    if options.workdir is not None:
        predictor = Predictor.from_run(options.workdir, options.checkpoint, config)
        return predictor, config.model.name
    predictor = Predictor.from_weights(options.weights, options.model)
    return predictor, options.model or str(find_weights(options.weights, read=False).model)


def _images(predictor: "Predictor", config: ConfigDict, options: argparse.Namespace) -> "Images":
    """Return the images over which file and network are compared."""
    from netzoo.export.check import named_images, painted_images, run_images

    if options.images:
        return named_images(predictor, options.images)
    found = run_images(predictor, run_path(options.workdir), config) if options.workdir else None
    return found or painted_images(predictor)
