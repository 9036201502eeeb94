"""Trains a network.

netzoo train --config mobilenet_v2 --workdir runs/v2 [--config.train.epochs=30 ...]

The same command continues a stopped run.
"""

import argparse
from collections.abc import Sequence

from ml_collections import ConfigDict

from netzoo.cli import keys, launch
from netzoo.config import default_config, flatten
from netzoo.console import say
from netzoo.errors import UserError
from netzoo.garbage import no_collection
from netzoo.paths import run_path


def main(arguments: Sequence[str]) -> int | None:
    """Run the command line."""
    needs_workdir = not {"--print-config", "--dry-run"} & {*arguments}
    parser = launch.parser("train", __doc__, epilog=keys.text(), needs_workdir=needs_workdir)
    parser.add_argument(
        "--config", required=True, help="configuration file, or its name in the package"
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print every key with its value and its origin, without training",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check the run and print its configuration, network, data, schedule, memory and time",
    )
    parser.add_argument(
        "--figure", metavar="FILE", help="with --dry-run: file for a picture of the learning rate"
    )
    return launch.run(parser, arguments, _train, many_processes=True)


def _train(config: ConfigDict, options: argparse.Namespace) -> int | None:
    if options.print_config:
        say(_origins(config, options, open_data=False))
        return 0
    with no_collection():
        from netzoo.mesh import check_devices
        from netzoo.training import train

    check_devices()
    if options.dry_run:
        from netzoo.cli.dry_run import dry_run

        workdir = run_path(options.workdir) if options.workdir else None
        dry_run(config, workdir, options.figure, _origins(config, options, open_data=True))
        return 0
    if options.figure:
        raise UserError(
            "--figure draws the learning rate of a --dry-run; add --dry-run or omit --figure"
        )
    return train(config, options.workdir)


def _origins(config: ConfigDict, options: argparse.Namespace, *, open_data: bool) -> str:
    """Return a line for each key of the resolved configuration, with value and origin."""
    from netzoo.tasks import resolve_config

    given, default = flatten(config), flatten(default_config(config.task))
    lines = []
    for key, value in flatten(resolve_config(config, open_data=open_data)).items():
        if key not in given or value != given[key]:
            origin = "resolved from the other keys"
        elif key in options.overridden:
            origin = f"--config.{key}"
        else:
            origin = "default" if key in default and value == default[key] else options.config
        lines.append((f"{key} = {value!r}", origin))
    width = max(len(text) for text, _ in lines)
    return "\n".join(f"{text:<{width}}  {origin}" for text, origin in lines)
