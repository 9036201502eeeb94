"""Evaluates a run on its test split, every example exactly once.

netzoo eval --workdir runs/v2 [--checkpoint best] [--config.evaluation.batch_size=64 ...]
"""

import argparse
from collections.abc import Sequence

from ml_collections import ConfigDict

from netzoo.cli import launch


def main(arguments: Sequence[str]) -> None:
    """Runs the command line."""
    parser = launch.parser("eval", __doc__)
    parser.add_argument(
        "--checkpoint",
        choices=("last", "best", "average"),
        default="last",
        help="which weights (default: last)",
    )
    launch.run(parser, arguments, _evaluate, many_processes=True)


def _evaluate(config: ConfigDict, options: argparse.Namespace) -> None:
    from netzoo.training.evaluate_run import evaluate_run

    evaluate_run(options.workdir, options.checkpoint, config)
