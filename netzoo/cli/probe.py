"""Scores the features of weights: a linear probe and the vote of the nearest neighbours.

netzoo probe mobilenet_v2.tv_in1k --workdir probes/v2 --config.data.source=folder:photos
netzoo probe runs/v2 --workdir probes/v2 [--test] [--out head.safetensors]

Features are the input of the classifier. They are computed once and kept in --workdir. The settings
are C of the linear probe, and k and the kind of vote of the neighbours. They are chosen on the
validation split or, if there is none, by cross-validation in the training split. The test split is
used only with --test.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from netzoo.cli import launch
from netzoo.config import CONFIG_FILE, default_config, load_config
from netzoo.console import print_table, say
from netzoo.paths import run_path, user_path
from netzoo.workdir.outputs import check_writable


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    epilog = "--config.data.KEY=VALUE sets the data; `netzoo keys` lists the keys."
    parser = launch.parser(
        "probe", __doc__, epilog=epilog, workdir="folder of the probe, on this machine"
    )
    parser.add_argument("weights", help="published name, folder of a run, or file of weights")
    parser.add_argument("--config", help="FILE with the data (default: the run's, else synthetic)")
    parser.add_argument("--model", help="network, for a file that does not name it")
    parser.add_argument("--image_size", type=int, help="in pixels (default: that of the weights)")
    out = "file to write: the network with the linear probe as its head, for init.weights"
    parser.add_argument("--out", help=out)
    test = "evaluate on the test split, once, with the chosen settings"
    parser.add_argument("--test", action="store_true", help=test)
    launch.run(parser, arguments, _probe, read=_config_of)


def _config_of(options: argparse.Namespace) -> ConfigDict:
    """Return the configuration of the run whose weights are probed, or the default."""
    is_run = (run_path(options.weights) / CONFIG_FILE).is_file()
    return load_config(options.weights) if is_run else default_config()


def _probe(config: ConfigDict, options: argparse.Namespace) -> None:
    from netzoo.mesh import check_devices
    from netzoo.tasks.classification.probe_run import RECORD, probe

    check_devices()
    check_writable(options.out)
    found = probe(
        *(config, options.weights, options.workdir),
        model=options.model,
        image_size=options.image_size,
        test=options.test,
    )
    _print(found.record)
    if options.out:
        found.save(options.out)
        say(f"written: {options.out}, {found.name} with the linear probe as its head")
    say(f"written: {user_path(options.workdir) / RECORD}")


def _print(record: dict[str, Any]) -> None:
    """Print the chosen settings and the scores of a record."""
    say(
        f"{record['model']} ({record['weights']}) at {record['preprocessing']['crop_size']} px: "
        f"{record['width']:,} features of {record['training_examples']:,} images"
    )
    rows = []
    for name, result in record["methods"].items():
        setting = {key: x for key, x in result["tried"][0].items() if key != "accuracy"}
        chosen = ", ".join(f"{key} = {result[key]}" for key in setting)
        rows.append((name, chosen, record["chosen_on"], *_cells(result)))
        if "test" in result:
            rows.append(
                (name, "", f"test: {record['data']['test_split']}", *_cells(result["test"]))
            )
    numbers = ("accuracy", "95 % interval", "images")
    print_table(("method", "chosen", "split", *numbers), rows, right=numbers)


def _cells(score: dict[str, Any]) -> tuple[str, str, str]:
    low, high = score["interval"]
    return f"{score['accuracy']:.2%}", f"{low:.2%} to {high:.2%}", f"{score['count']:,}"
