"""Exports a network to a file that runs without netzoo, and compares their outputs on images.

netzoo export --workdir runs/v2 --format stablehlo --out flowers.stablehlo
netzoo export --workdir runs/v2 --format hub --out flowers_mobilenet
netzoo export --workdir runs/v2 --format web --out flowers
netzoo export --workdir runs/v2 --format safetensors --project torchvision --out v2.safetensors
netzoo export --workdir runs/v2 --benchmark [--out formats.csv]
netzoo export --weights resnet50.tv2_in1k --format stablehlo --out r50.stablehlo --images photos

For a run of translation, --out is a new folder with the encoder and one decoding step.

Files of the formats onnx, stablehlo and litert hold a program, with BatchNorm folded into the
convolutions, the class names and the preprocessing. The program maps normalised images to logits
or, with --with-preprocessing, uint8 pixels to probabilities. The format web is a folder with a page
that classifies pictures in the browser. The formats hub and safetensors hold weights for other
libraries.
docs/export.md shows how to use the files.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from netzoo.cli import launch
from netzoo.cli.arguments import typed_path
from netzoo.config import default_config, load_config
from netzoo.console import print_table, say
from netzoo.csv_files import write_csv
from netzoo.errors import UserError
from netzoo.files import renaming
from netzoo.paths import run_path
from netzoo.workdir import WEIGHTS
from netzoo.workdir.outputs import check_writable

if TYPE_CHECKING:
    from netzoo.export.benchmark import Measured
    from netzoo.export.check import Images
    from netzoo.tasks.classification.predictor import Predictor


_CALIBRATION = 64  # images
# Formats of weights without a program. A hub folder has no suffix.
_HUB, _SAFETENSORS = "hub", "safetensors"
_OF_WEIGHTS = {_HUB: "", _SAFETENSORS: ".safetensors"}
_WEB = "web"  # a folder, whose network is an ONNX file


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    from netzoo.export.formats import FORMATS
    from netzoo.export.litert import PRECISIONS

    parser = launch.parser("export", __doc__, needs_workdir=False)
    which = "weights of the run (default: last)"
    parser.add_argument("--checkpoint", choices=WEIGHTS, default="last", help=which)
    weights = "published name or file of weights, instead of --workdir"
    parser.add_argument("--weights", metavar="NAME", help=weights)
    parser.add_argument("--model", help="network, for a file of weights that does not name it")
    formats = (*FORMATS, _WEB, *_OF_WEIGHTS)
    parser.add_argument("--format", choices=formats, help="format of the file or folder")
    title = "for web: heading of the page (default: the name of the run's folder or of the weights)"
    parser.add_argument("--title", metavar="TEXT", help=title)
    runtime = "for web: file of `npm pack onnxruntime-web` (default: npm downloads it)"
    parser.add_argument("--onnxruntime-web", type=typed_path, metavar="FILE", help=runtime)
    project = "for safetensors: names of the tensors, such as timm (default: netzoo's own)"
    parser.add_argument("--project", help=project)
    measure = (
        "write a file of each format and precision to a temporary folder, and print their sizes, "
        "their differences from the network and their times for one image; --out is then a CSV file"
    )
    parser.add_argument("--benchmark", action="store_true", help=measure)
    repeats = "timed calls for --benchmark (default: 100)"
    parser.add_argument("--repeats", type=int, default=100, metavar="N", help=repeats)
    parser.add_argument("--out", type=typed_path, metavar="FILE", help="file to write")
    inside = "let the program map uint8 pixels to probabilities"
    parser.add_argument("--with-preprocessing", action="store_true", help=inside)
    precision = "for litert: type of the weights and, for int8, activations (default: float32)"
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0], help=precision)
    images = (
        "images or folders of images on which file and network are compared (default: those of the "
        "run, else drawn flowers)"
    )
    parser.add_argument("--images", nargs="+", metavar="PATH", help=images)
    launch.run(parser, arguments, _export, read=_config_of)


def _config_of(options: argparse.Namespace) -> ConfigDict:
    if (options.workdir is None) == (options.weights is None):
        raise UserError("give either --workdir DIR, the folder of a run, or --weights NAME")
    return default_config() if options.workdir is None else load_config(options.workdir)


def _export(config: ConfigDict, options: argparse.Namespace) -> None:
    if options.weights:
        launch.refuse_overrides(options)
    if options.benchmark:
        _benchmark(config, options)
    elif options.format in _OF_WEIGHTS:
        _write_weights(config, options)
    elif not (options.format and options.out):
        raise UserError("give --format and --out FILE, or --benchmark")
    elif options.format != _WEB and (options.title or options.onnxruntime_web):
        raise UserError("--title and --onnxruntime-web are for --format web; omit them")
    elif options.precision != "float32" and options.format != "litert":
        raise UserError("--precision is for --format litert; omit it")
    elif options.project:
        raise UserError("--project names tensors of --format safetensors; omit it")
    elif options.workdir is not None and _reads_text(config, options.workdir):
        _write_translator(config, options)
    elif options.format == _WEB:
        _write_web(config, options)
    else:
        _write(config, options)


def _reads_text(config: ConfigDict, workdir: str) -> bool:
    """Return whether the network of a run reads tokens, after importing the run's modules."""
    from netzoo.models import model_entry
    from netzoo.tasks import run_config

    return not model_entry(run_config(run_path(workdir), config).model.name).image_size


def _write_translator(config: ConfigDict, options: argparse.Namespace) -> None:
    """Write the encoder and one decoding step of a run into a new folder."""
    from netzoo.export.translator import export_translator
    from netzoo.mesh import check_devices

    if options.format == _WEB:
        raise UserError("--format web is for networks on images; use --format onnx")
    if options.with_preprocessing or options.images:
        raise UserError("a network on text has no images; omit --with-preprocessing and --images")
    check_devices()
    _in_float32(config)
    found = export_translator(
        options.workdir, options.checkpoint, config, options.out, options.format
    )
    say(
        f"folder and network agree over {found.described}: largest difference "
        f"{found.relative:.1e} of the largest logit\nwritten: {options.out}"
    )


def _in_float32(config: ConfigDict) -> None:
    """Let the network compute in float32, because not every runtime supports bfloat16."""
    if "dtype" in config.model:
        config.model.dtype = "float32"


def _benchmark(config: ConfigDict, options: argparse.Namespace) -> None:
    from netzoo.export.benchmark import Measured, benchmark, installed_kinds
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
    int8 = "litert int8" in installed_kinds()
    calibration = _calibration(predictor, config, options, images) if int8 else images
    found = benchmark(predictor, model, images, calibration, options.repeats)
    head = ("format", "MB", "largest difference", "ms for one image")
    print_table(head, [_cells(row) for row in found], right=head[1:])
    say(f"compared over {images.described}; medians of {options.repeats} interleaved calls")
    for row in found:
        if row.note:
            say(f"{row.name}: {row.note}")
    if options.out:
        write_csv(options.out, Measured._fields, found, typed=True)


def _cells(row: "Measured") -> tuple[str, str, str, str]:
    texts = (
        (row.size and row.size / 1e6, ",.1f"),
        (row.difference, ".1e"),
        (row.milliseconds, ",.2f"),
    )
    mb, difference, ms = ("-" if number is None else f"{number:{form}}" for number, form in texts)
    return row.name, mb, difference, ms


def _write(config: ConfigDict, options: argparse.Namespace) -> None:
    from netzoo.export.formats import FORMATS
    from netzoo.export.write import export_classifier
    from netzoo.mesh import check_devices

    out = _checked_out(options, FORMATS[options.format].suffix)
    check_devices()
    predictor, model = _network(config, options)
    images = _images(predictor, config, options)
    calibration = None
    if options.precision == "int8":
        ranges = _calibration(predictor, config, options, images)
        say(f"ranges of int8 from {ranges.described}")
        calibration = ranges.pixels
    found = export_classifier(
        predictor,
        model,
        out,
        options.format,
        images,
        with_preprocessing=options.with_preprocessing,
        precision=options.precision,
        calibration=calibration,
    )
    say(f"file and network compared over {images.described}: {found}")
    say(f"written: {out}, {out.stat().st_size / 1e6:,.1f} MB")


def _write_web(config: ConfigDict, options: argparse.Namespace) -> None:
    """Write a folder with a page for browsers."""
    from netzoo.export.web import write_web_folder
    from netzoo.files import bytes_below
    from netzoo.mesh import check_devices

    if options.with_preprocessing:
        raise UserError("--format web always has preprocessing; omit --with-preprocessing")
    out = _checked_out(options, "")
    check_devices()
    predictor, model = _network(config, options)
    named = run_path(options.workdir).name if options.workdir else options.weights
    images = _images(predictor, config, options)
    found = write_web_folder(
        out, predictor, model, options.title or named, images, options.onnxruntime_web
    )
    say(f"network.onnx and network compared over {images.described}: {found}")
    say(f"written: {out}, {bytes_below(out) / 1e6:,.1f} MB")
    say(f"to try it: python -m http.server --directory {out}")


def _calibration(
    predictor: "Predictor", config: ConfigDict, options: argparse.Namespace, images: "Images"
) -> "Images":
    """Return the training images that determine the ranges of int8, or else `images`."""
    from netzoo.export.check import run_images

    found = None
    if options.workdir:
        workdir, count = run_path(options.workdir), _CALIBRATION
        found = run_images(predictor, workdir, config, training=True, count=count)
    return found or images


def _write_weights(config: ConfigDict, options: argparse.Namespace) -> None:
    """Write a file of weights or a hub folder."""
    from netzoo.export import hub, trained

    out = _checked_out(options, _OF_WEIGHTS[options.format])
    if options.with_preprocessing or options.images:
        raise UserError(
            f"--format {options.format} holds weights, not a program; omit --with-preprocessing "
            "and --images"
        )
    if options.project and options.format == _HUB:
        raise UserError("a hub folder has timm's names; omit --project")
    found = (
        trained.of_weights(options.weights, options.model)
        if options.workdir is None
        else trained.of_run(options.workdir, options.checkpoint, config)
    )
    if options.format == _HUB:
        hub.write_hub_folder(out, found)
    else:
        with renaming(out) as partial:
            hub.write_weights(partial, found, options.project)
    say(f"read back: the weights are those of the network, bit for bit\nwritten: {out}")


def _checked_out(options: argparse.Namespace, suffix: str) -> Path:
    """Return --out, which must be a file or a new folder that can be written."""
    out = options.out
    if out is None:
        raise UserError("give --out, the name of the file or of the new folder")
    if suffix and out.suffix != suffix:
        raise UserError(f"--out {out}; expected a name that ends with {suffix}")
    if suffix:
        check_writable(str(out))
    return out


def _network(config: ConfigDict, options: argparse.Namespace) -> tuple["Predictor", str]:
    """Return the network, and its name in the registry."""
    from netzoo.tasks.classification.predictor import Predictor
    from netzoo.weights.origin import find_weights

    if options.workdir is not None:
        _in_float32(config)
        predictor = Predictor.from_run(options.workdir, options.checkpoint, config)
        return predictor, config.model.name
    predictor = Predictor.from_weights(options.weights, options.model)
    return predictor, options.model or str(find_weights(options.weights, read=False).model)


def _images(predictor: "Predictor", config: ConfigDict, options: argparse.Namespace) -> "Images":
    """Return the images on which file and network are compared."""
    from netzoo.export.check import named_images, painted_images, run_images

    if options.images:
        return named_images(predictor, options.images)
    found = run_images(predictor, run_path(options.workdir), config) if options.workdir else None
    return found or painted_images(predictor)
