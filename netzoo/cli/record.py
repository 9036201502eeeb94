"""Creates a record of a finished run, and tables of records.

netzoo record runs/v2 --out results/mobilenet_v2_scratch
netzoo record --table results

A record is a folder with `record.json` and copies of its sources (the resolved config, the metrics
log, the evaluation, the environment, the figures and the files of its task), so that each number
can be traced. Each task defines its scores and its table in `netzoo/tasks/TASK/record.py`.
"""

import json
import os
import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from netzoo.buckets import is_in_bucket
from netzoo.cli.arguments import Parser
from netzoo.config import CONFIG_FILE, default_config, flatten
from netzoo.config.tasks import DEFAULT_TASK, TASKS, task_module
from netzoo.console import json_text, markdown_table, say
from netzoo.errors import UserError
from netzoo.files import MAX_LOG, new_folder, read_bytes, write_bytes, write_text
from netzoo.json_files import OtherShape, read_json
from netzoo.paths import run_path, user_path
from netzoo.tasks.record import RECORD_FILE, Record
from netzoo.workdir import ENVIRONMENT_FILE, EVAL_FILE, METRICS_FILE, TEST_FILE
from netzoo.workdir.environment import SHAPE, last_session
from netzoo.workdir.held_out import summary
from netzoo.workdir.metrics_log import read_metrics, training_seconds

_NEEDED = (CONFIG_FILE, METRICS_FILE, ENVIRONMENT_FILE, EVAL_FILE, TEST_FILE)


def make_record(workdir: str | os.PathLike[str], out: str | os.PathLike[str]) -> dict[str, Any]:
    """Write the record of a finished and evaluated run into a new folder, e.g. `results/NAME`.

    Returns:
      The contents of `record.json`. `images_per_second` or `tokens_per_second` is the median over
      the train lines. `wall_seconds` is the training time over all sessions of the run
      (`netzoo.workdir.metrics_log.training_seconds`).

    Raises:
      UserError: A file or key is missing, the task is unknown, the run is unfinished, its
        evaluation is of another step, of other data or of other settings, or `out` exists. Nothing
        is written in these cases.
    """
    workdir, out = run_path(workdir), user_path(out)
    missing = [name for name in _NEEDED if not (workdir / name).is_file()]
    if missing:
        train = "" if {*missing} <= {EVAL_FILE, TEST_FILE} else "train with `netzoo train`, then "
        raise UserError(f"{workdir} has no {missing[0]}: {train}{_eval_command(workdir)}")
    try:
        config = read_json(workdir / CONFIG_FILE, {"task": str, "data": {}})
        description = _description(config["task"], config["data"])
        record = _fields(workdir, description)
    except OtherShape as error:
        raise UserError(f"{error}; train and evaluate again with this version") from None
    if out.exists():
        raise UserError(f"{out} exists: choose another name, or delete the old record first")
    with new_folder(out) as folder:
        for name in (*_NEEDED, *description.files, "*.png"):
            for path in workdir.glob(name):
                # A link may lead to a private file; a bucket has none.
                if is_in_bucket(path) or not path.is_symlink():
                    write_bytes(folder / path.name, read_bytes(path, MAX_LOG))
        write_text(folder / RECORD_FILE, json_text(record, pretty=True) + "\n")
    return record


def _description(task: str, fields: Mapping[str, Any]) -> Record:
    """Return the description for a record, from its configuration's `data` or its own fields."""
    return task_module(task, "record").record_of(fields)


def _fields(workdir: Path, description: Record) -> dict[str, Any]:
    settings = dict.fromkeys(description.settings, int)
    splits = {"train_split": str, "test_split": (str, None), "validation_split?": (str, None)}
    config = read_json(
        workdir / CONFIG_FILE,
        {
            **{"task": str, "seed": int, "model": {"name": str}, "train": {"epochs": float}},
            "data": {"source": str, **splits, **settings},
        },
    )
    evaluation = read_json(
        workdir / EVAL_FILE,
        {
            **{"split": str, "step": int, "checkpoint": str, "settings": {}, "data": {}},
            **dict(description.scores.values()),
        },
    )
    machine = {"devices": [str]}
    given = {"init": str, "command": str, "parameters": int, "versions": {}, "machine": machine}
    environment = read_json(workdir / ENVIRONMENT_FILE, SHAPE | given)
    timing = {"process": str, "wall_seconds": float, description.rate: float}
    lines = read_metrics(workdir / METRICS_FILE, {"timing": timing}, kind="train")
    data, epochs = config["data"], config["train"]["epochs"]
    # The last line of a run that stopped early says so.
    stops = read_metrics(workdir / METRICS_FILE, {"best_step": int}, kind="stop")
    last = (stops or lines or [{"step": 0, "epoch": 0.0}])[-1]
    # The epoch of the last step is a quotient, which may differ from an integer by rounding.
    if not lines or (not stops and last["epoch"] < epochs - 1e-6):
        raise UserError(
            f"the run in {workdir} is unfinished: expected {epochs:g} epochs, found "
            f"{last['epoch']:g} in {METRICS_FILE}; the same `netzoo train` command continues it"
        )
    _check_evaluation(workdir, evaluation, last["step"], config, last_session(environment))
    timings = [line["timing"] for line in lines]
    return {
        **({} if config["task"] == DEFAULT_TASK else {"task": config["task"]}),
        "model": config["model"]["name"],
        "init": environment["init"],
        "dataset": data["source"],
        "train_split": data["train_split"],
        "test_split": data["test_split"],
        **{name: data[name] for name in description.settings},
        "epochs": last["epoch"] if stops else epochs,
        **({"stopped_early": {"of": epochs, "best_step": last["best_step"]}} if stops else {}),
        "seed": config["seed"],
        **{name: evaluation[key] for name, (key, _) in description.scores.items()},
        "test_split_log": summary(workdir),
        "parameters": environment["parameters"],
        description.rate: statistics.median(timing[description.rate] for timing in timings),
        "wall_seconds": training_seconds(lines),
        **{name: environment[name] for name in ("command", "versions", "machine")},
    }


def _check_evaluation(
    workdir: Path,
    evaluation: Mapping[str, Any],
    last_step: int,
    config: Mapping[str, Any],
    session: Mapping[str, Any],
) -> None:
    """Raise a UserError unless the evaluation has the run's last step, test split and settings."""
    data, found = config["data"], evaluation["settings"]
    wanted = flatten(ConfigDict(config))
    # A run of an earlier version lacks the newer keys, and trained as with their defaults.
    defaults = json.loads(json_text(flatten(default_config(config["task"]))))
    prefixes = _description(config["task"], data).evaluated
    keys = sorted({key for key in wanted if key.startswith(prefixes)} | found.keys())
    compared = {key: (wanted.get(key, defaults.get(key)), found.get(key)) for key in keys}
    # Runs of earlier versions have no fingerprint of their data.
    for name, value in evaluation["data"].items():
        compared[f"data.{name}"] = (session.get(f"data.test.{name}", value), value)
    # The scores of a record belong to the test split, never to examples that training has seen.
    compared["split"] = (data["test_split"], evaluation["split"])
    # With a validation split, the best step may be evaluated, because the test split did not choose
    # it.
    if evaluation["checkpoint"] != "best" or not data.get("validation_split"):
        compared["step"] = (last_step, evaluation["step"])
    differing = [
        f"\n  {key}: the run has {run!r}, the evaluation {evaluated!r}"
        for key, (run, evaluated) in compared.items()
        if run != evaluated
    ]
    if differing:
        raise UserError(
            f"{workdir / EVAL_FILE} is not the evaluation of the finished run:"
            f"{''.join(differing)}\n{_eval_command(workdir)} again. To evaluate with other "
            "settings, write to a separate folder: --out DIR"
        )


def _eval_command(workdir: Path) -> str:
    return f"run `netzoo eval --workdir {shlex.quote(str(workdir))}`"


def results_tables(results_dir: str | os.PathLike[str]) -> str:
    """Return a Markdown table for each kind of record in a folder, best first.

    Raises:
      UserError: The folder has no record, or a record lacks a field.
    """
    paths = list(user_path(results_dir).glob(f"*/{RECORD_FILE}"))
    if not paths:
        raise UserError(f"expected {results_dir}/*/{RECORD_FILE}, found none")
    found: dict[tuple[int, str], tuple[Record, list[tuple[float, str, tuple[str, ...]]]]] = {}
    for path in paths:
        try:
            record = {**read_json(path, {"task?": str}), "record": path.parent.name}
            task = record.get("task", DEFAULT_TASK)
            description = _description(task, record)
            read_json(path, description.shape())
        except UserError as error:
            where = "" if isinstance(error, OtherShape) else f"{path}: "
            raise UserError(f"{where}{error}; create this record again from its run") from None
        cells = tuple(str(column.cell(record)) for column in description.columns())
        row = (-record[description.rank], path.parent.name, cells)
        kind = list(TASKS).index(task), description.rank
        found.setdefault(kind, (description, []))[1].append(row)
    return "\n\n".join(_table(*found[kind]) for kind in sorted(found))


def _table(description: Record, rows: list[tuple[float, str, tuple[str, ...]]]) -> str:
    titles = [(column.title, column.right) for column in description.columns()]
    return markdown_table(titles, (cells for _, _, cells in sorted(rows)))


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    parser = Parser("netzoo record", description=__doc__)
    parser.add_argument("workdir", nargs="?", help="folder of a finished run")
    parser.add_argument("--out", help="folder to create, usually results/NAME")
    parser.add_argument("--table", metavar="RESULTS", help="folder of records to print as tables")
    flags = parser.parse_args(arguments)
    making = flags.workdir is not None and flags.out is not None
    if making == (flags.table is not None) or (flags.table and (flags.workdir or flags.out)):
        parser.error("expected either WORKDIR --out results/NAME, or --table results alone")
    if making:
        record = make_record(flags.workdir, flags.out)
        description = _description(record.get("task", DEFAULT_TASK), record)
        say(f"{flags.out}: {record['model']}, {description.headline(record)}")
    else:
        say(results_tables(flags.table))
