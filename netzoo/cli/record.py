"""Turns a finished run into a record that is worth keeping, and records into tables.

    python -m netzoo.cli.record runs/v2 --out results/mobilenet_v2_scratch
    python -m netzoo.cli.record --table results

A record is a folder: `record.json` and copies of what it was made from (the resolved config, the
metrics log, the evaluation, the environment, the pictures and the translations), so that each
number can be traced. What a record holds depends on the task; the tables are in `record_tables.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from netzoo.cli.record_tables import IMAGES, RECORD_FILE, TRANSLATION, read_json, results_tables
from netzoo.errors import UserError, unknown_name
from netzoo.workdir.metrics_log import METRICS_FILE, read_metrics

CONFIG_FILE = "config.json"
EVAL_FILE = "eval.json"
ENVIRONMENT_FILE = "environment.json"
TRANSLATIONS_FILE = "translations.tsv"
_MAKERS = {
    CONFIG_FILE: "train.py writes it at the start",
    METRICS_FILE: "train.py writes it while it runs",
    ENVIRONMENT_FILE: "train.py writes it at the start",
    EVAL_FILE: "run `python eval.py --workdir {workdir}`",
}


def make_record(workdir: str | os.PathLike[str], out: str | os.PathLike[str]) -> dict[str, Any]:
    """Writes the record of a finished and evaluated run.

    Args:
      workdir: the run's folder.
      out: folder to make, usually `results/NAME`.

    Returns:
      The contents of `record.json`. `images_per_second`, or `tokens_per_second`, is the median
      over the train lines, `wall_seconds` the time spent training over all processes that the run
      took; time whose lines a resume cut off, because it was lost to a kill, is not in it.

    Raises:
      UserError: a file or key is missing, the task is unknown, the run is unfinished, its
        evaluation is of another step or split, or `out` exists. Nothing has been written then.
    """
    workdir, out = Path(workdir), Path(out)
    record = _assemble(workdir)
    if out.exists():
        raise UserError(f"{out} exists: choose another name, or delete the old record first")
    out.mkdir(parents=True)
    kept = [*(workdir / name for name in _MAKERS), *sorted(workdir.glob("*.png"))]
    if record.get("task") == TRANSLATION:
        kept += workdir.glob(TRANSLATIONS_FILE)
    for path in kept:
        shutil.copyfile(path, out / path.name)
    (out / RECORD_FILE).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return record


def _assemble(workdir: Path) -> dict[str, Any]:
    for name, maker in _MAKERS.items():
        if not (workdir / name).exists():
            raise UserError(
                f"{workdir} has no {name}: {maker.format(workdir=shlex.quote(str(workdir)))}"
            )
    config = read_json(workdir / CONFIG_FILE)
    evaluation = read_json(workdir / EVAL_FILE)
    environment = read_json(workdir / ENVIRONMENT_FILE)
    lines = [line for line in read_metrics(workdir / METRICS_FILE) if line["kind"] == "train"]
    try:
        fields = _fields(config["task"])
        _check_finished(workdir, lines, config["train"]["epochs"])
        _check_evaluation(workdir, evaluation, lines[-1]["step"], config["data"])
        return fields(config, evaluation, environment, [line["timing"] for line in lines])
    except KeyError as error:
        files = ", ".join(_MAKERS)
        raise UserError(
            f"a file of {workdir} ({files}) lacks the key {error}: it was written by another "
            "version of netzoo, so train and evaluate again with this one"
        ) from error


def _fields(task: str) -> Callable[..., dict[str, Any]]:
    makers = {IMAGES: _image_fields, TRANSLATION: _translation_fields}
    if task not in makers:
        raise unknown_name("task", task, makers)
    return makers[task]


def _image_fields(
    config: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    environment: Mapping[str, Any],
    timings: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    data = config["data"]
    return {
        "model": config["model"]["name"],
        "init": environment["init"],
        "dataset": data["source"],
        "train_split": data["train_split"],
        "test_split": data["test_split"],
        "image_size": data["image_size"],
        "epochs": config["train"]["epochs"],
        "seed": config["seed"],
        "accuracy": evaluation["accuracy"],
        "num_examples": evaluation["count"],
        "interval": evaluation["interval"],
        "parameters": environment["parameters"],
        "images_per_second": statistics.median(t["images_per_second"] for t in timings),
        **_circumstances(environment, timings),
    }


def _translation_fields(
    config: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    environment: Mapping[str, Any],
    timings: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    return {
        "task": TRANSLATION,
        "model": config["model"]["name"],
        "init": environment["init"],
        "dataset": evaluation["dataset"],
        "train_split": config["data"]["train_split"],
        "test_split": config["data"]["test_split"],
        "epochs": config["train"]["epochs"],
        "seed": config["seed"],
        "bleu": evaluation["bleu"],
        "bleu_interval": evaluation["bleu_interval"],
        "bleu_signature": evaluation["bleu_signature"],
        "chrf": evaluation["chrf"],
        "exact_match": evaluation["exact_match"],
        "perplexity": evaluation["perplexity"],
        "num_examples": evaluation["count"],
        "parameters": environment["parameters"],
        "tokens_per_second": statistics.median(t["tokens_per_second"] for t in timings),
        **_circumstances(environment, timings),
    }


def _circumstances(
    environment: Mapping[str, Any], timings: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    kept = {name: environment[name] for name in ("command", "versions", "machine")}
    return {"wall_seconds": _wall_seconds(timings), **kept}


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m netzoo.cli.record", description="Keep a finished run, or list them."
    )
    parser.add_argument("workdir", nargs="?", help="folder of a finished run")
    parser.add_argument("--out", help="folder to make, usually results/NAME")
    parser.add_argument("--table", metavar="RESULTS", help="print the tables of these records")
    flags = parser.parse_args(arguments)
    making = flags.workdir is not None and flags.out is not None
    if making == (flags.table is not None) or (flags.table and (flags.workdir or flags.out)):
        parser.error("expected either WORKDIR --out results/NAME, or --table results alone")
    try:
        if making:
            record = make_record(flags.workdir, flags.out)
            if record.get("task") == TRANSLATION:
                score = f"BLEU {record['bleu']:.2f}"
            else:
                score = f"accuracy {100 * record['accuracy']:.2f} %"
            print(f"{flags.out}: {record['model']}, {score}")
        else:
            print(results_tables(flags.table))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
