"""Lists and shows the networks.

netzoo models list [PATTERN] [--classes N]
netzoo models show NAME [--classes N] [--size PIXELS] [--layout PROJECT]
"""

import argparse
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from netzoo.errors import UserError, unknown_name
from netzoo.models import create_model, list_models, model_entry
from netzoo.models.summary import model_summary, variable_shapes
from netzoo.progress import track
from netzoo.weights import reported_accuracy
from netzoo.weights.families import layouts
from netzoo.weights.state_dict import tensor_shapes


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="netzoo models", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="list all networks, or those that match a pattern")
    listing.add_argument("pattern", nargs="?", default="*", help="e.g. 'resnet*'")
    showing = commands.add_parser("show", help="show the stages of a network")
    showing.add_argument("name")
    showing.add_argument("--size", type=int, help="side of the image in pixels")
    layout = "print the names and shapes of the tensors in weights of a project"
    showing.add_argument("--layout", metavar="PROJECT", help=f"{layout}, e.g. timm")
    for command in (listing, showing):
        command.add_argument("--classes", type=int, default=1000, help="length of the logits")
    flags = parser.parse_args(arguments)
    if flags.command == "list":
        _list(flags.pattern, flags.classes)
    elif flags.layout:
        _show_layout(flags.name, flags.classes, flags.size, flags.layout)
    else:
        _show(flags.name, flags.classes, flags.size)


def _list(pattern: str, classes: int) -> None:
    names = list_models(pattern)
    if not names:
        raise UserError(f"no network matches {pattern!r}; all: {', '.join(list_models())}")
    table = Table("name", "parameters", "MACs", "input", "top-1, %", "source of the accuracy")
    for column in table.columns[1:5]:
        column.justify = "right"
    for name in track(names, "tracing", Console(stderr=True)):
        entry, accuracy = model_entry(name), reported_accuracy(name)
        summary = model_summary(create_model(name, num_classes=classes), entry.image_size)
        table.add_row(
            name,
            f"{summary.parameters:,}",
            _millions(summary.macs),
            f"{entry.image_size} px" if entry.image_size else "tokens",
            f"{accuracy[0]:.1f}" if accuracy else "-",
            accuracy[1] if accuracy else "",
        )
    Console(width=None if Console().is_terminal else 120).print(table)


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
    for tensor, shape in tensors.items():
        print(f"{tensor:{width}}  {' x '.join(map(str, shape))}")


def _show(name: str, classes: int, size: int | None) -> None:
    size = _image_size(name, size)
    summary = model_summary(create_model(name, num_classes=classes), size)
    table = Table("part", "output", "parameters", "MACs")
    for column in table.columns[2:]:
        column.justify = "right"
    for part in summary.parts:
        shape = " x ".join(map(str, part.shape[1:]))
        table.add_row(part.name, shape, f"{part.parameters:,}", _millions(part.macs))
    console = Console()
    unit = f"{size}x{size} pixels" if size else "tokens"
    console.out(
        f"{name}, {classes} classes, {unit}: {summary.parameters:,} parameters, "
        f"{summary.statistics:,} running statistics, {_millions(summary.macs)} multiply-adds",
        highlight=False,
    )
    if accuracy := reported_accuracy(name):
        console.out(f"ImageNet top-1 {accuracy[0]} % ({accuracy[1]})", highlight=False)
    console.print(table)


def _millions(macs: int) -> str:
    return f"{macs / 1e6:,.1f} M"
