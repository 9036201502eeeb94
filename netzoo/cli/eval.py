"""Evaluates a run on its test split or another split, every example exactly once.

netzoo eval --workdir runs/v2 [--split validation] [--checkpoint best] [--config.KEY=VALUE ...]
netzoo eval --workdir runs/v2 --temperature fit
netzoo eval --workdir runs/tags --thresholds
netzoo eval --workdir runs/v2 --data folder:new --out new
netzoo eval --workdir runs/v2 --compare runs/v1
netzoo eval --workdir runs/v2 --split validation --tta flip --out flipped
netzoo eval --file flowers.onnx --data folder:new [--out new] [--compare DIR]
"""

import argparse
from collections.abc import Sequence

from ml_collections import ConfigDict

from netzoo.cli import launch
from netzoo.cli.arguments import typed_path
from netzoo.config import default_config, load_config
from netzoo.config.overrides import override
from netzoo.errors import UserError
from netzoo.paths import user_path
from netzoo.tasks.classification.config import VIEWS
from netzoo.workdir import WEIGHTS

# Beginnings of keys whose values an exported file defines.
_OF_FILE = (
    *("model.", "init.", "data.image_size", "data.mean", "data.std"),
    *("evaluation.tta", "evaluation.crop_pct"),
)


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    parser = launch.parser("eval", __doc__, needs_workdir=False)
    file = "exported file to evaluate on --data, instead of a run (docs/export.md)"
    parser.add_argument("--file", type=typed_path, help=file)
    data = (
        "evaluate on the test split of other labelled data, such as folder:PATH or tfds:NAME, or "
        "on all examples without such a split; a run then needs --out"
    )
    parser.add_argument("--data", metavar="SOURCE", help=data)
    which = "weights to evaluate (default: last)"
    parser.add_argument("--checkpoint", choices=WEIGHTS, default="last", help=which)
    parser.add_argument(
        "--split",
        choices=("test", "validation", "train"),
        default="test",
        help="split of the run: data.test_split, etc. (default: test)",
    )
    out = (
        "folder for the results; required if data or settings are not the run's (default: the run "
        "folder, or its subfolder eval_SPLIT with --split)"
    )
    parser.add_argument("--out", metavar="DIR", help=out)
    temperature = (
        "for images: store a temperature, which predictions then use; `fit` fits it on the "
        "validation split, and folders of runs give the mean of their temperatures (default: do "
        "not store one; report the stored one or, without it, the one that the validation split "
        "suggests)"
    )
    parser.add_argument("--temperature", metavar="RUN", nargs="+", default=(), help=temperature)
    thresholds = (
        "for multi-label images: choose the threshold of each class on the validation split "
        "(default: those stored in the run, else 0.5)"
    )
    parser.add_argument("--thresholds", action="store_true", help=thresholds)
    help_ = (
        "for images: compare with another run, or with the results of its evaluation, on the same "
        "images"
    )
    parser.add_argument("--compare", metavar="DIR", help=help_)
    tta = (
        "for images: average the probabilities of each image and its mirror image, or of ten crops "
        "(evaluation.tta); needs --out"
    )
    parser.add_argument("--tta", choices=VIEWS[1:], help=tta)
    help_ = "do not write report.html, the page about the evaluation of images"
    parser.add_argument("--no_report", action="store_true", help=help_)
    launch.run(parser, arguments, _evaluate, many_processes=True, read=_config_of)


def _config_of(options: argparse.Namespace) -> ConfigDict:
    if (options.workdir is None) == (options.file is None):
        raise UserError("give either --workdir DIR, the folder of a run, or --file FILE")
    if options.file is None:
        return load_config(options.workdir)
    of_run = {"--checkpoint": options.checkpoint != "last", "--split": options.split != "test"}
    of_run |= {"--temperature": bool(options.temperature), "--tta": bool(options.tta)}
    of_run |= {"--no_report": options.no_report, "--thresholds": options.thresholds}
    if given := [name for name, is_given in of_run.items() if is_given]:
        raise UserError(f"{', '.join(given)} concerns runs; omit it with --file")
    if options.data is None:
        raise UserError("an exported file needs --data SOURCE, such as folder:PATH or tfds:NAME")
    return default_config()


def _evaluate(config: ConfigDict, options: argparse.Namespace) -> None:
    from netzoo.mesh import check_devices
    from netzoo.training.evaluate_run import evaluate_run

    if options.file:
        _check_overridden(options.overridden)
    check_devices()
    if options.data:
        _use_data(config, options.data, options.overridden)
    if options.tta:
        override(config, {"evaluation.tta": options.tta})
    if options.file:
        from netzoo.export.evaluate import evaluate_file

        out, compare = (path and user_path(path) for path in (options.out, options.compare))
        evaluate_file(options.file, config, out, compare)
        return
    which, split, out = options.checkpoint, options.split, options.out
    evaluate_run(
        options.workdir,
        which,
        config,
        split=split,
        out=out,
        temperature=options.temperature,
        thresholds=options.thresholds,
        page=not options.no_report,
        compare=options.compare,
    )


def _check_overridden(keys: Sequence[str]) -> None:
    """Refuse keys of the network and of the preprocessing, which the exported file defines."""
    if given := [key for key in keys if key.startswith(_OF_FILE)]:
        raise UserError(f"the exported file defines what --config.{given[0]} would change; omit it")


def _use_data(config: ConfigDict, source: str, overridden: Sequence[str]) -> None:
    """Set another source, and its test split unless the command sets it."""
    from netzoo.config.tasks import task_module
    from netzoo.data.splits import evaluation_split

    config.data.source = source
    if "data.test_split" not in overridden:
        sizes = task_module(config.task, "task").task_class(config).split_sizes(config)
        config.data.test_split = evaluation_split(sizes)
