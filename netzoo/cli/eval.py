"""Evaluates a run on its test split, or another of its splits, every example exactly once.

netzoo eval --workdir runs/v2 [--split validation] [--checkpoint best] [--config.KEY=VALUE ...]
"""

import argparse
from collections.abc import Sequence

from ml_collections import ConfigDict

from netzoo.cli import launch
from netzoo.workdir import WEIGHTS


def main(arguments: Sequence[str]) -> None:
    """Runs the command line."""
    parser = launch.parser("eval", __doc__)
    which = "which weights (default: last)"
    parser.add_argument("--checkpoint", choices=WEIGHTS, default="last", help=which)
    parser.add_argument(
        "--split",
        choices=("test", "validation", "train"),
        default="test",
        help="which examples: data.test_split of the run, and so on (default: test)",
    )
    launch.run(parser, arguments, _evaluate, many_processes=True)


def _evaluate(config: ConfigDict, options: argparse.Namespace) -> None:
    from netzoo.training.evaluate_run import evaluate_run

    evaluate_run(options.workdir, options.checkpoint, config, split=options.split)
