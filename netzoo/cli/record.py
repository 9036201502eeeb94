"""Turns a finished run into a record that is worth keeping, and records into tables.

    netzoo record runs/v2 --out results/mobilenet_v2_scratch
    netzoo record --table results

A record is a folder: `record.json` and copies of what it was made from (the resolved config, the
metrics log, the evaluation, the environment, the figures and the files of its task), so that each
number can be traced. Each task describes its scores and its table in `netzoo/tasks/TASK/record.py`.
"""

import argparse
import json
import os
import shlex
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from netzoo.cli.record_tables import RECORD_FILE, read_json, results_tables
from netzoo.config import CONFIG_FILE
from netzoo.config.tasks import DEFAULT_TASK, task_module
from netzoo.errors import UserError
from netzoo.tasks.record import Record
from netzoo.workdir import ENVIRONMENT_FILE, EVAL_FILE, METRICS_FILE
from netzoo.workdir.metrics_log import read_metrics

_MAKERS = {
    CONFIG_FILE: "train.py writes it at the start",
    METRICS_FILE: "train.py writes it while it runs",
    ENVIRONMENT_FILE: "train.py writes it at the start",
    EVAL_FILE: "run `python eval.py --workdir {workdir}`",
}


def make_record(workdir: str | os.PathLike[str], out: str | os.PathLike[str]) -> dict[str, Any]:
    """Writes the record of a finished and evaluated run.

    Args:
      workdir: The run's folder.
      out: Folder to make, usually `results/NAME`.

    Returns:
      The contents of `record.json`. `images_per_second`, or `tokens_per_second`, is the median
      over the train lines. `wall_seconds` is the time spent training, over all processes that the
      run took. It leaves out time that was lost to a kill, whose lines a resume cut off.

    Raises:
      UserError: A file or key is missing, the task is unknown, the run is unfinished, its
        evaluation is of another step or split, or `out` exists. Nothing has been written then.
    """
    workdir, out = Path(workdir), Path(out)
    _check_files(workdir)
    config = read_json(workdir / CONFIG_FILE)
    try:
        description = task_module(config["task"], "record").RECORD
        record = _fields(workdir, config, description)
    except KeyError as error:
        files = ", ".join(_MAKERS)
        raise UserError(
            f"a file of {workdir} ({files}) lacks the key {error}: it was written by another "
            "version of netzoo, so train and evaluate again with this one"
        ) from error
    if out.exists():
        raise UserError(f"{out} exists: choose another name, or delete the old record first")
    out.mkdir(parents=True)
    own = (workdir / name for name in description.files)
    for path in (
        *(workdir / name for name in _MAKERS),
        *workdir.glob("*.png"),
        *filter(Path.exists, own),
    ):
        shutil.copyfile(path, out / path.name)
    (out / RECORD_FILE).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return record


def _check_files(workdir: Path) -> None:
    for name, maker in _MAKERS.items():
        if not (workdir / name).exists():
            raise UserError(
                f"{workdir} has no {name}: {maker.format(workdir=shlex.quote(str(workdir)))}"
            )


def _fields(workdir: Path, config: Mapping[str, Any], description: Record) -> dict[str, Any]:
    evaluation, environment = (read_json(workdir / name) for name in (EVAL_FILE, ENVIRONMENT_FILE))
    lines = [line for line in read_metrics(workdir / METRICS_FILE) if line["kind"] == "train"]
    data, rate = config["data"], f"{description.throughput_unit}_per_second"
    _check_finished(workdir, lines, config["train"]["epochs"])
    _check_evaluation(workdir, evaluation, lines[-1]["step"], data)
    timings = [line["timing"] for line in lines]
    return {
        **({} if config["task"] == DEFAULT_TASK else {"task": config["task"]}),
        "model": config["model"]["name"],
        "init": environment["init"],
        "dataset": evaluation["dataset"],
        "train_split": data["train_split"],
        "test_split": data["test_split"],
        **{name: data[name] for name in description.settings},
        "epochs": config["train"]["epochs"],
        "seed": config["seed"],
        **{name: evaluation[key] for name, key in description.scores.items()},
        "parameters": environment["parameters"],
        rate: statistics.median(timing[rate] for timing in timings),
        "wall_seconds": _wall_seconds(timings),
        **{name: environment[name] for name in ("command", "versions", "machine")},
    }


def _check_finished(workdir: Path, lines: Sequence[Mapping[str, Any]], epochs: float) -> None:
    done = lines[-1]["epoch"] if lines else 0.0
    # The epoch of the last step is a quotient, which may miss the whole number by a rounding.
    if not lines or done < epochs - 1e-6:
        raise UserError(
            f"the run in {workdir} is unfinished: expected {epochs:g} epochs, found {done:g} in "
            f"{METRICS_FILE}; start train.py with the same command and it goes on"
        )


def _check_evaluation(
    workdir: Path, evaluation: Mapping[str, Any], last_step: int, data: Mapping[str, Any]
) -> None:
    again = f"run `python eval.py --workdir {shlex.quote(str(workdir))}` again"
    # With a validation split the weights may be those of the best step, chosen without the test.
    chosen = evaluation["checkpoint"] == "best" and data.get("validation_split")
    if evaluation["step"] != last_step and not chosen:
        raise UserError(
            f"{workdir / EVAL_FILE} is of step {evaluation['step']}, but the run ended at step "
            f"{last_step}: {again}"
        )
    # A record's scores are of the test split, never of examples that training has seen.
    test_split = data["test_split"]
    if evaluation["split"] not in ("test", test_split):
        raise UserError(
            f"{workdir / EVAL_FILE} is of the split {evaluation['split']!r}, expected the test "
            f"split {test_split!r}: {again}"
        )


def _wall_seconds(timings: Sequence[Mapping[str, Any]]) -> float:
    """Adds up the last clock reading of each process that took part, in seconds."""
    latest: dict[str, float] = {}
    for timing in timings:
        process = timing["process"]
        latest[process] = max(latest.get(process, 0.0), timing["wall_seconds"])
    return sum(latest.values())


def main(arguments: Sequence[str]) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="netzoo record", description="Keeps a finished run, or lists those kept."
    )
    parser.add_argument("workdir", nargs="?", help="folder of a finished run")
    parser.add_argument("--out", help="folder to make, usually results/NAME")
    parser.add_argument("--table", metavar="RESULTS", help="print the tables of these records")
    flags = parser.parse_args(arguments)
    making = flags.workdir is not None and flags.out is not None
    if making == (flags.table is not None) or (flags.table and (flags.workdir or flags.out)):
        parser.error("expected either WORKDIR --out results/NAME, or --table results alone")
    if making:
        record = make_record(flags.workdir, flags.out)
        description = task_module(record.get("task", DEFAULT_TASK), "record").RECORD
        print(f"{flags.out}: {record['model']}, {description.headline(record)}")
    else:
        print(results_tables(flags.table))
