"""Lists and shows the networks.

netzoo models list [PATTERN] [--classes N]
netzoo models list [PATTERN] --weights
netzoo models show NAME [--classes N] [--size PIXELS] [--layout PROJECT | --figure FILE]
"""

from collections.abc import Sequence
from pathlib import Path

import jax

from netzoo import figures
from netzoo.cli.arguments import Parser, typed_path
from netzoo.console import print_table, say
from netzoo.errors import UserError, unknown_name
from netzoo.models import create_model, list_models, model_entry
from netzoo.models.diagram import model_figure
from netzoo.models.summary import Summary, model_summary, variable_shapes
from netzoo.progress import track
from netzoo.weights import CATALOGUE, default_weights, reported_accuracy
from netzoo.weights.families import layouts
from netzoo.weights.state_dict import tensor_shapes
from netzoo.workdir.outputs import check_writable


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    parser = Parser(prog="netzoo models", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="list all networks, or those that match a pattern")
    listing.add_argument("pattern", nargs="?", default="*", help="e.g. 'resnet*'")
    published = "list the published weights of these networks; * marks the default of a network"
    listing.add_argument("--weights", action="store_true", help=published)
    showing = commands.add_parser("show", help="show the stages of a network")
    showing.add_argument("name")
    showing.add_argument("--size", type=int, help="side of the image in pixels")
    layout = "print the names and shapes of the tensors in weights of a project"
    showing.add_argument("--layout", metavar="PROJECT", help=f"{layout}, e.g. timm")
    figure = "file for a diagram of the stages, e.g. network.png"
    showing.add_argument("--figure", metavar="FILE", type=typed_path, help=figure)
    for command in (listing, showing):
        command.add_argument("--classes", type=int, default=1000, help="length of the logits")
    flags = parser.parse_args(arguments)
    jax.config.update("jax_platforms", "cpu")  # networks are only traced
    if flags.command == "list" and flags.weights:
        _list_weights(flags.pattern)
    elif flags.command == "list":
        _list(flags.pattern, flags.classes)
    elif flags.layout:
        _show_layout(flags.name, flags.classes, flags.size, flags.layout)
    else:
        _show(flags.name, flags.classes, flags.size, flags.figure)


def _list(pattern: str, classes: int) -> None:
    names = _matching(pattern)
    right = ("parameters", "MACs", "input", "top-1, %")
    rows = []
    for name in track(names, "tracing"):
        entry, accuracy = model_entry(name), reported_accuracy(name)
        summary = model_summary(create_model(name, num_classes=classes), entry.image_size)
        rows.append(
            (
                name,
                f"{summary.parameters:,}",
                _millions(summary.macs),
                f"{entry.image_size} px" if entry.image_size else "tokens",
                f"{accuracy[0]:.1f}" if accuracy else "-",
                accuracy[1] if accuracy else "",
            )
        )
    print_table(("name", *right, "source of the accuracy"), rows, right=right)


def _list_weights(pattern: str) -> None:
    """Print the published weights of networks, the best first."""
    chosen = set(_matching(pattern))
    found = [weights for weights in CATALOGUE.values() if weights.model in chosen]
    right = ("classes", "px", "crop", "top-1, %")
    rows = []
    for w in found:
        best, images = default_weights(w.model), w.preprocessing
        rows.append(
            (
                w.name,
                "*" if w is best else "",
                f"{w.num_classes:,}" if w.num_classes else "-",
                str(images.crop_size),
                f"{images.crop_size / images.resize_size:.2f}",
                f"{w.accuracy:.1f}" if w.accuracy else "-",
                w.source,
                w.licence,
            )
        )
    print_table(("name", "", *right, "source of the accuracy", "licence"), rows, right=right)
    without = sorted(chosen - {weights.model for weights in found})
    if without:
        say(f"without published weights: {', '.join(without)}")


def _matching(pattern: str) -> list[str]:
    names = list_models(pattern)
    if not names:
        raise UserError(f"no network matches {pattern!r}; all: {', '.join(list_models())}")
    return names


def _image_size(name: str, size: int | None) -> int:
    default = model_entry(name).image_size
    if size is not None and not default:
        raise UserError(f"{name} reads tokens, not images; omit --size")
    return default if size is None else size


def _show_layout(name: str, classes: int, size: int | None, project: str) -> None:
    model = create_model(name, num_classes=classes)
    if project not in (known := layouts(model)):
        raise unknown_name(f"project with names for {name}", project, known)
    shapes = variable_shapes(model, _image_size(name, size))
    tensors = tensor_shapes(known[project](model, shapes), shapes)
    width = max(map(len, tensors))
    lines = (f"{name:{width}}  {' x '.join(map(str, shape))}" for name, shape in tensors.items())
    say("\n".join(lines))


def _show(name: str, classes: int, size: int | None, figure: Path | None) -> None:
    if figure is not None:
        check_writable(str(figure))
        figures.check_format(str(figure))
    size = _image_size(name, size)
    model = create_model(name, num_classes=classes)
    summary = model_summary(model, size)
    unit = f"{size}x{size} pixels" if size else "tokens"
    say(f"{name}, {classes} classes, {unit}: {totals(summary)}")
    if accuracy := reported_accuracy(name):
        say(f"ImageNet top-1 {accuracy[0]} % ({accuracy[1]})")
    print_parts(summary)
    if figure is not None:
        text = f"{unit}, {classes} classes: {totals(summary)}"
        drawn = model_figure(name, summary, variable_shapes(model, size), size, text)
        figures.save(drawn, figure)
        say(f"written: {figure}")


def totals(summary: Summary) -> str:
    """Return the totals of a network as text."""
    return (
        f"{summary.parameters:,} parameters, {summary.statistics:,} running statistics, "
        f"{_millions(summary.macs)} multiply-adds"
    )


def print_parts(summary: Summary) -> None:
    """Print a table of the stages of a network."""
    rows = (
        (
            part.name,
            " x ".join(map(str, part.shape[1:])),
            f"{part.parameters:,}",
            _millions(part.macs),
        )
        for part in summary.parts
    )
    print_table(("part", "output", "parameters", "MACs"), rows, right=("parameters", "MACs"))


def _millions(macs: int) -> str:
    return f"{macs / 1e6:,.1f} M"
