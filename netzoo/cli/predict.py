"""Classifies images or translates sentences with the weights of a run.

netzoo predict --workdir runs/v2 photo.jpg holiday/ [--top_k 5] [--json] [--figure sheet.png]
netzoo predict --workdir runs/v2 'holiday/**/*.jpg' --output classes.csv [--tta flip]
find holiday -name '*.jpg' | netzoo predict --workdir runs/v2 - --jsonl
netzoo predict --workdir runs/en-de "A man is riding a horse." [--input in.txt --output out.txt]
"""

import argparse
from collections.abc import Sequence

from ml_collections import ConfigDict

from netzoo.cli import launch
from netzoo.paths import run_path, user_path
from netzoo.workdir import WEIGHTS


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of at least 1, got {text}")
    return int(text)


def main(arguments: Sequence[str]) -> int | None:
    """Run the command line."""
    parser = launch.parser("predict", __doc__)
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
    task.add_argument("--tta", choices=("flip", "crops"), help=tta)
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
        workdir, inputs, _ = (given.pop(name) for name in ("workdir", "inputs", "overridden"))
        for name in ("figure", "input", "output"):
            if name in given:
                given[name] = str(user_path(given[name]))
        return predict(config, run_path(workdir), inputs, given)

    return launch.run(parser, arguments, predict_inputs)
