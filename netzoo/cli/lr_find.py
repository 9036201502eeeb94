"""Suggests a learning rate: trains a few steps with a growing rate until the loss diverges.

netzoo lr-find --config mobilenet_v2 [--low 1e-6] [--high 10] [--steps 200] [--out lr_find.csv]

The steps, their batches and the optimizer are those of the run. Only the training split is read,
and nothing is saved but a CSV file and a figure beside it (docs/experiments.md).
"""

import argparse
from collections.abc import Sequence

from ml_collections import ConfigDict

from netzoo.cli import launch
from netzoo.cli.arguments import Parser, typed_path
from netzoo.console import say
from netzoo.csv_files import write_csv
from netzoo.errors import UserError
from netzoo.progress import track
from netzoo.workdir.outputs import check_writable


def main(arguments: Sequence[str]) -> int | None:
    """Run the command line."""
    parser = Parser("netzoo lr-find", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--config", required=True, help="configuration file, or its name in the package"
    )
    parser.add_argument("--low", type=float, default=1e-6, help="first learning rate (1e-6)")
    parser.add_argument("--high", type=float, default=10.0, help="last learning rate (10)")
    parser.add_argument("--steps", type=int, default=200, help="number of steps (200)")
    parser.add_argument(
        "--out",
        type=typed_path,
        default="lr_find.csv",
        help="CSV file to write, with a figure .png beside it (default: lr_find.csv)",
    )
    return launch.run(parser, arguments, _find)


def _find(config: ConfigDict, options: argparse.Namespace) -> None:
    from netzoo.mesh import check_devices
    from netzoo.training import lr_finder

    low, high, steps, out = options.low, options.high, options.steps, options.out
    if not 0 < low < high < float("inf"):
        raise UserError(f"--low {low:g} --high {high:g}; expected 0 < low < high")
    if steps < lr_finder.MIN_STEPS:
        raise UserError(f"--steps {steps}; expected at least {lr_finder.MIN_STEPS}")
    figure = out.with_suffix(".png")
    check_writable(str(out), str(figure))
    check_devices()
    found = lr_finder.search(config, low, high, steps, lambda steps: track(steps, "searching"))
    rows = zip(found.rates, found.losses, found.smoothed, strict=True)
    write_csv(out, ("learning_rate", "loss", "smoothed_loss"), rows, typed=True)
    lr_finder.draw(found, figure, f"{config.model.name} on {config.data.source}")
    number = len(found.rates)
    ending = "where the loss diverged" if found.diverged else "without divergence; raise --high"
    say(
        f"{number} steps with learning rates from {found.rates[0]:.3g} to {found.rates[-1]:.3g}, "
        f"{ending}\n"
        f"steepest descent of the loss: {found.steepest:.2g}\n"
        f"a tenth of the rate with the lowest loss: {found.tenth_of_minimum:.2g}\n"
        f"written: {out}, {figure}"
    )
