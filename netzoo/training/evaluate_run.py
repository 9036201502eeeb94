"""Evaluates a run on one of its splits, and writes a report into its folder."""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from chex import ArrayTree
from ml_collections import ConfigDict

from netzoo import mesh as meshes
from netzoo import processes
from netzoo.buckets import is_in_bucket
from netzoo.config import CONFIG_FILE, flatten, load_config, shared_values
from netzoo.config.tasks import task_module
from netzoo.console import json_text, say
from netzoo.errors import UserError
from netzoo.files import make_folder, write_text
from netzoo.inspection.explained import explained
from netzoo.models.summary import check_variables
from netzoo.paths import run_path
from netzoo.progress import track
from netzoo.tasks import evaluation_task, run_config
from netzoo.tasks.run_facts import RunFacts
from netzoo.tasks.task import FIT, THRESHOLDS, Task
from netzoo.training import average
from netzoo.training.evaluation import evaluate_rows, make_eval_step
from netzoo.workdir import EVAL_FILE, REPORT_FILE, TENSORBOARD
from netzoo.workdir.checkpoint import restore_variables
from netzoo.workdir.environment import commit, shared_environment, shell_line, versions
from netzoo.workdir.held_out import add_evaluation
from netzoo.workdir.outputs import check_results_folder, check_writable
from netzoo.workdir.writers.tensorboard import write_evaluation


def evaluate_run(
    workdir: str | os.PathLike[str],
    which: str = "last",
    config: ConfigDict | None = None,
    *,
    split: str = "test",
    out: str | os.PathLike[str] | None = None,
    temperature: Sequence[str] = (),
    thresholds: bool = False,
    page: bool = True,
    compare: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Evaluate a run on one of its splits, print the scores, write `eval.json` and more.

    No training data is opened. The classes of the data and of the run are matched by name; the data
    may lack some. `test_evaluations.json` of the run logs evaluations on the run's test split.

    Args:
      workdir: The run folder.
      which: `"last"`, `"best"` or `"average"`; see `netzoo.workdir.checkpoint.restore_variables`.
      config: The run's configuration with other values for data and evaluation, or None.
      split: `"test"`, `"validation"` or `"train"`: the run's `data.test_split` and so on.
      out: Folder for the results; None for the run folder, or for its subfolder
        `eval_validation` or `eval_train`. It is required for other data or settings than the run's,
        because the folder of a run holds only the results of the run.
      temperature: For images: ("fit",) fits the temperature on the validation split, and names of
        other runs give the mean of their temperatures. The run stores the result. If empty, the
        report has the stored temperature, or the one that the validation split suggests.
      thresholds: For multi-label images: choose thresholds on the validation split and store them.
      compare: For images: another run, or the folder of its results (`out`), which was evaluated on
        the same examples. `eval.json` and the page then compare the two.
      page: Whether to write `report.html` too, if the task has such a page.

    Returns:
      The contents of `eval.json`.

    Raises:
      UserError: The run lacks the split; the data or settings are not those of the run and `out`
        is None or the folder of a run; or the folder, the data or the checkpoint is invalid.
    """
    workdir = run_path(workdir)
    config = run_config(workdir, config)
    examples = _examples(config, split)
    wanted = _wanted(temperature, thresholds)
    _check_same_flags(config, which, split, wanted)
    _check_fitted(wanted, workdir, config, out)
    folder = _folder(workdir, out, config, split)
    task = evaluation_task(config, workdir)
    other = _results(compare, split) if compare else None
    found = _evaluate(task, workdir, which, examples, wanted, other)
    report = found.report
    if _logs_test(workdir, config, examples):
        report["test_evaluations"] = add_evaluation(workdir, report)
    # Print first, so that a figure that cannot be written does not lose the metrics.
    task.show(report)
    if meshes.is_writer():
        _write(found, task, workdir, folder, page)
        _write_events(found, task, None if out else workdir / TENSORBOARD / f"eval_{split}")
    say(f"{_weights(report)}; written: {folder / EVAL_FILE}")
    return report


def _weights(report: Mapping[str, Any]) -> str:
    return f"{report['checkpoint']} checkpoint, step {report['step']}, {report['weights']} weights"


class _Evaluated(NamedTuple):
    """The results of an evaluation, and the sources of its files."""

    report: dict[str, Any]  # the contents of eval.json
    draw_figures: Callable[[Path], None]
    variables: ArrayTree
    rows: dict[str, np.ndarray]  # see `Task.final_step`
    seconds: float  # with compilation


def _examples(config: ConfigDict, split: str) -> str:
    key = f"{split}_split"
    if (examples := config.data.get(key)) is None:
        raise UserError(
            f"there is nothing to evaluate on: data.{key} is None; add "
            f"--config.data.{key}=SPLIT --out DIR, or another --split"
        )
    return examples


def _check_same_flags(config: ConfigDict, which: str, split: str, wanted: Sequence[str]) -> None:
    """Raise a UserError if the processes of a job differ in their flags or configurations."""
    flags: dict[str, Any] = {"--checkpoint": which, "--split": split}
    flags |= {"--temperature, --thresholds": [*wanted], "devices": jax.local_device_count()}
    processes.check_same(flags | shared_values(config))


def _logs_test(workdir: Path, config: ConfigDict, examples: str) -> bool:
    """Return whether this process must log an evaluation on the run's test split."""
    own = load_config(workdir).data
    of_test = (own.source, own.test_split) == (config.data.source, examples)
    return of_test and meshes.is_writer()


def _has_validation(workdir: Path, config: ConfigDict) -> bool:
    """Return whether the configuration still has the run's validation split."""
    own, now = load_config(workdir).data, config.data
    same = (own.source, own.validation_split) == (now.source, now.validation_split)
    return same and own.validation_split is not None


def _wanted(temperature: Sequence[str], thresholds: bool) -> tuple[str, ...]:
    """Return the argument `wanted` of `Task.fitted`."""
    if thresholds and temperature:
        raise UserError("a run has a temperature or thresholds; omit one of the two flags")
    return (THRESHOLDS,) if thresholds else tuple(temperature)


def _check_fitted(wanted: Sequence[str], workdir: Path, config: ConfigDict, out: Any) -> None:
    is_new = {FIT, THRESHOLDS} & {*wanted}
    if is_new and not (_has_validation(workdir, config) and out is None):
        raise UserError(
            "a temperature is fitted, and thresholds are chosen, on the run's validation split: "
            "omit --out, --data and --config.data.validation_split. For a run without such a "
            "split, give runs with one, such as those of its folds: --temperature RUN ..."
        )


def _evaluate(
    task: Task,
    workdir: Path,
    which: str,
    examples: str,
    wanted: Sequence[str],
    compare: Path | None = None,
) -> _Evaluated:
    config, mesh = task.config, meshes.create_mesh()
    meshes.check_divisible(mesh, **task.batch_sizes(training=False))
    batches = task.evaluation_batches(examples)
    other = compare and task.read_evaluation(compare, examples)
    described = {"data": task.fingerprint(examples), "versions": versions(), "commit": commit()}
    processes.check_same(shared_environment(described))
    step, weights, variables = restore_variables(workdir, which)
    if weights == "ema":  # under this name, checkpoints hold the weights that the run evaluates
        weights = average.kind(config)
    check_variables(task.model, variables, jax.eval_shape(task.init, jax.random.key(0)))
    processes.check_same_arrays(f"step {step}", variables)
    began = time.monotonic()
    eval_step = make_eval_step(task.final_step(examples), mesh, config.matmul_precision)
    placed = jax.device_put(variables, meshes.replicated(mesh))
    shown = track(batches, f"evaluating on {examples}")
    sums, rows = evaluate_rows(eval_step, placed, shown, meshes.batch_placer(mesh))
    seconds = time.monotonic() - began

    def validation(limit: int | None) -> dict[str, np.ndarray]:
        if (split := config.data.validation_split) == examples:
            return rows
        shown = track(task.evaluation_batches(split, limit), f"evaluating on {split}")
        return evaluate_rows(eval_step, placed, shown, meshes.batch_placer(mesh))[1]

    own = validation if _has_validation(workdir, config) else None
    fitted = task.fitted(workdir, wanted, which, step, own)
    variables = jax.device_put(variables)
    details, draw_figures = task.report(variables, examples, sums, rows, fitted)
    report = {
        **task.metrics(sums, rows),
        **details,
        **({"comparison": task.compare(other, examples, rows)} if other else {}),
        "split": examples,
        "step": step,
        "checkpoint": which,
        "weights": weights,
        **described,
        "settings": _settings(config),
    }
    return _Evaluated(report, draw_figures, variables, rows, seconds)


def _write(found: _Evaluated, task: Task, workdir: Path, folder: Path, page: bool) -> None:
    """Write the scores, the figures and the page."""
    report = found.report
    write_text(folder / EVAL_FILE, json_text(report, pretty=True) + "\n")
    found.draw_figures(folder)
    if not page:
        return
    facts = _facts(task, workdir, found.seconds)
    text = task.page(found.variables, report["split"], found.rows, report, facts, explained)
    if text:
        write_text(folder / REPORT_FILE, text)
        say(f"report: {folder / REPORT_FILE}")


def _write_events(found: _Evaluated, task: Task, folder: Path | None) -> None:
    """Write the scores and pictures for TensorBoard into `folder`, if the run writes events."""
    if folder is None or "tensorboard" not in task.config.writers:
        return
    report = found.report
    numbers = {f"final/{key}": value for key, value in report.items() if isinstance(value, float)}
    pictures = task.pictures(report["split"], found.rows, report)
    write_evaluation(folder, report["step"], numbers, pictures)


def _facts(task: Task, workdir: Path, seconds: float) -> RunFacts:
    config = task.config
    return RunFacts.read(
        workdir,
        network=config.model.name,
        data=config.data.source,
        validation_split=config.data.validation_split,
        metric=task.main_metric,
        command=shell_line(sys.orig_argv),
        seconds=seconds,
    )


def _results(compare: str | os.PathLike[str], split: str) -> Path:
    """Return the folder with the results of another run on its test split or another split."""
    folder = run_path(compare)
    return (
        folder / f"eval_{split}" if split != "test" and (folder / CONFIG_FILE).exists() else folder
    )


def _settings(config: ConfigDict) -> dict[str, Any]:
    """Return the values on which scores depend, except the split."""
    keys = task_module(config.task, "record").record_of(config.data).evaluated
    return {key: value for key, value in flatten(config).items() if key.startswith(keys)}


def _folder(
    workdir: Path, out: str | os.PathLike[str] | None, config: ConfigDict, split: str
) -> Path:
    """Return the folder for the results, after creating it and checking that it is writable."""
    own_folder = workdir if split == "test" else workdir / f"eval_{split}"
    folder = own_folder if out is None else run_path(out)
    if _same(folder, own_folder):
        key, configs = f"data.{split}_split", (load_config(workdir), config)
        own, now = ({**_settings(c), key: flatten(c)[key]} for c in configs)
        changed = [k for k, value in now.items() if value != own.get(k)]
        if changed:
            differing = (f"{k} is {now[k]!r}, but the run has {own.get(k)!r}" for k in changed)
            raise UserError(
                f"{'; '.join(differing)}. {folder} holds only results with the data and settings "
                "of the run; add --out DIR"
            )
    else:
        check_results_folder(folder)
    if out is None and split != "test":
        make_folder(folder)
    if not is_in_bucket(folder):
        folder.mkdir(parents=True, exist_ok=True)
        check_writable(str(folder / EVAL_FILE))
    return folder


def _same(first: Path, second: Path) -> bool:
    """Return whether two folders are the same one; those in buckets have no links."""
    if is_in_bucket(first) or is_in_bucket(second):
        return str(first) == str(second)
    return first.resolve() == second.resolve()
