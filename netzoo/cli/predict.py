"""Classifies images or translates sentences with the weights of a run, or with published weights.

netzoo predict --weights resnet50.a1_in1k photo.jpg
netzoo predict --workdir runs/v2 photo.jpg holiday/ [--top_k 5] [--json] [--figure sheet.png]
netzoo predict --workdir runs/v2 'holiday/**/*.jpg' --output classes.csv [--tta flip]
find holiday -name '*.jpg' | netzoo predict --workdir runs/v2 - --jsonl
netzoo predict --workdir runs/en-de "A man is riding a horse." [--input in.txt --output out.txt]
"""

import argparse
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from netzoo.cli import launch
from netzoo.config import default_config, load_config
from netzoo.errors import UserError
from netzoo.paths import run_path, user_path
from netzoo.tasks.classification.config import VIEWS
from netzoo.workdir import WEIGHTS


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of at least 1, got {text}")
    return int(text)


def main(arguments: Sequence[str]) -> int | None:
    """Run the command line."""
    parser = launch.parser("predict", __doc__, needs_workdir=False)
    weights = (
        "published name or file of weights, instead of --workdir; `netzoo models list --weights` "
        "lists the names"
    )
    parser.add_argument("--weights", metavar="NAME", help=weights)
    parser.add_argument("--model", help="network, for a file of weights that does not name it")
    parser.add_argument(
        "inputs", nargs="*", help="images, folders, patterns or - for a list on stdin; or sentences"
    )
    # The task of the run defines the defaults of these options, and may not support all.
    task = parser.add_argument_group(
        "options of the run's task", argument_default=argparse.SUPPRESS
    )
    task.add_argument("--checkpoint", choices=WEIGHTS, help="weights to use (default: last)")
    task.add_argument(
        "--top_k",
        type=_positive,
        help="classes per image (default: 3), or translations per sentence (1)",
    )
    tta = (
        "for images: average the probabilities of each image and its mirror image, or of ten crops "
        "(default: evaluation.tta of the run)"
    )
    task.add_argument("--tta", choices=VIEWS[1:], help=tta)
    task.add_argument("--json", action="store_true", help="write JSON")
    task.add_argument("--jsonl", action="store_true", help="write JSON lines, for images")
    task.add_argument("--csv", action="store_true", help="write CSV, for images")
    task.add_argument("--figure", help="file for a figure of classes or attention, e.g. a.png")
    task.add_argument("--input", help="text to translate, one sentence per line; - for stdin")
    task.add_argument("--output", help="file for the results instead of stdout")

    def predict_inputs(config: ConfigDict, options: argparse.Namespace) -> int:
        from netzoo.mesh import check_devices
        from netzoo.tasks import predict

        check_devices()
        given = vars(options)
        if given["weights"]:
            launch.refuse_overrides(options)
        names = ("workdir", "inputs", "overridden", "weights", "model")
        workdir, inputs, _, weights, model = (given.pop(name) for name in names)
        for name in ("figure", "input", "output"):
            if name in given:
                given[name] = str(user_path(given[name]))
        if weights:
            return _predict_with_weights(weights, model, inputs, given)
        return predict(config, run_path(workdir), inputs, given)

    return launch.run(parser, arguments, predict_inputs, read=_config_of)


def _config_of(options: argparse.Namespace) -> ConfigDict:
    """Return the configuration of the run, or a default for weights."""
    if bool(options.workdir) == bool(options.weights):
        raise UserError("give either --workdir DIR, the folder of a run, or --weights NAME")
    return load_config(options.workdir) if options.workdir else default_config()


def _predict_with_weights(
    weights: str, model: str | None, inputs: list[str], given: dict[str, Any]
) -> int:
    from netzoo.tasks.classification.predict import Options, predict_with_weights

    of_runs = [name for name in ("checkpoint", "input") if name in given]
    if of_runs:
        raise UserError(f"--{of_runs[0]} is for runs; omit it with --weights")
    return predict_with_weights(weights, model, inputs, Options(**given))
