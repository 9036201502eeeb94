"""Classifies images, or translates sentences, with the weights of a run.

netzoo predict --workdir runs/v2 photo.jpg holiday/ [--top_k 5] [--json] [--figure sheet.png]
netzoo predict --workdir runs/en-de "A man is riding a horse." [--input in.txt --output out.txt]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from netzoo.cli import launch


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {number}")
    return number


def main(arguments: Sequence[str]) -> int | None:
    """Runs the command line."""
    parser = launch.parser("predict", __doc__)
    parser.add_argument("inputs", nargs="*", help="images, folders of images, or sentences")
    # The run's task has the defaults of the others, and may not know an option.
    task = parser.add_argument_group("options of the run's task")
    task.add_argument(
        "--checkpoint", choices=("last", "best", "average"), help="which weights (default: last)"
    )
    task.add_argument(
        "--top_k",
        type=_positive,
        help="classes of an image (default: 3), or translations of a sentence (1)",
    )
    task.add_argument("--json", action="store_true", default=None, help="print JSON")
    task.add_argument("--figure", help="file for a figure of classes or attention, e.g. a.png")
    task.add_argument("--input", help="text to translate, a sentence a line; - for stdin")
    task.add_argument("--output", help="file for translations instead of stdout")
    names = ("checkpoint", "top_k", "json", "figure", "input", "output")

    def predict_inputs(config: ConfigDict, options: argparse.Namespace) -> int:
        from netzoo.tasks import predict

        given = {name: getattr(options, name) for name in names}
        given = {name: value for name, value in given.items() if value is not None}
        return predict(config, Path(options.workdir), options.inputs, given)

    return launch.run(parser, arguments, predict_inputs)
