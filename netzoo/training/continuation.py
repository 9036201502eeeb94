"""What a continued run may change, and what netzoo says about it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from netzoo.config import load_config
from netzoo.errors import UserError
from netzoo.tasks.task import Task
from netzoo.training.schedule import create_schedule
from netzoo.workdir import METRICS_FILE
from netzoo.workdir.metrics_log import read_metrics

_SPLITS = ("train", "validation", "test")


def fingerprints(config: ConfigDict, task: Task) -> dict[str, dict[str, Any]]:
    """Return what `netzoo.data.source.fingerprint` says about every split of a run."""
    splits = {name: config.data[f"{name}_split"] for name in _SPLITS}
    return {name: task.fingerprint(split) for name, split in splits.items() if split}


def _check_files(workdir: Path, changes: Mapping[str, tuple[Any, Any]]) -> None:
    """Check that the files that training reads beside the data, such as a teacher, are the same.

    Raises:
      UserError: A file has changed since the last session of the run.
    """
    changed = [key.removeprefix("files.") for key in changes if key.startswith("files.")]
    if changed:
        raise UserError(
            f"{', '.join(changed)} has changed: its values are not those with which the run in "
            f"{workdir} was trained. Put the old weights back, or start a new run from the weights "
            f"of this run: --workdir NEW --config.init.weights={workdir}"
        )


def check_data(
    config: ConfigDict,
    workdir: Path,
    data: Mapping[str, Mapping[str, Any]],
    changes: Mapping[str, tuple[Any, Any]],
) -> None:
    """Check that a run continues on the same examples, unless `data.on_change` is "continue".

    Files that training reads beside the data must always be the same.

    Args:
      config: The current configuration.
      workdir: The run folder.
      data: Result of `fingerprints`.
      changes: Result of `netzoo.workdir.environment.changes_since`.

    Raises:
      UserError: The examples or a file have changed, or `data.source` has changed and the examples
        cannot be compared.
    """
    _check_files(workdir, changes)
    if config.data.on_change == "continue":
        return
    source = load_config(workdir).data.source
    changed = []
    for name in _SPLITS:
        (old, new), names = changes.get(f"data.{name}.examples", (0, 0)), f"data.{name}.names"
        if old != new:
            changed.append(f"  {name}: the run has {old:,} examples, now {new:,}")
        elif names in changes:
            changed.append(f"  {name}: the examples have other names")
        elif f"data.{name}.labels" in changes:
            changed.append(f"  {name}: the examples have other labels")
    if source != config.data.source and any(each["names"] is None for each in data.values()):
        changed.append(
            f"  data.source is {config.data.source!r}; its examples have no names to compare"
        )
    if changed:
        raise UserError(
            f"the data of the run in {workdir} ({source}) have changed:\n"
            + "\n".join(changed)
            + "\nContinue with the data of the run; or start a new run from its weights: --workdir "
            f"NEW --config.init.weights={workdir}; or continue on the changed data: "
            "--config.data.on_change=continue"
        )


def notes(
    config: ConfigDict, workdir: Path, task: Task, start: int, changes: Mapping[str, Any]
) -> list[str]:
    """Return a line for each change that a run continues with.

    Args:
      config: The current configuration.
      workdir: The run folder, with the previous configuration.
      task: The task of the run.
      start: The step of the checkpoint.
      changes: Result of `netzoo.workdir.environment.changes_since`.
    """
    lines = []
    if changes:
        listed = (
            f"{key} changed"
            if key.endswith((".names", ".labels"))
            else f"{key} was {old}, now {new}"
            for key, (old, new) in changes.items()
        )
        lines.append(f"results may differ from an uninterrupted run's: {', '.join(listed)}")
    before = load_config(workdir)
    if missing := _missing_steps(before, workdir, task, start):
        first, last = (f"{step:,}" for step in (missing[0], missing[-1]))
        steps = f"the step {first}" if first == last else f"steps from {first} to {last}"
        lines.append(
            f"{workdir / METRICS_FILE} lacks the lines of {steps}, before the checkpoint at step "
            f"{start:,}: it has been cut or replaced. The run continues, and its curves and record "
            "lack these lines"
        )
    old, new = before.train.epochs, config.train.epochs
    if old != new and start:
        then, now = (create_schedule(c, task.steps_per_epoch) for c in (before, config))
        lines.append(
            f"train.epochs grows from {old} to {new}, which stretches the schedule "
            f"{config.schedule.name}: the learning rate was {then(start - 1):.3g} at step {start}, "
            f"and is {now(start):.3g} at step {start + 1}"
        )
    return lines


def _missing_steps(config: ConfigDict, workdir: Path, task: Task, start: int) -> list[int]:
    """Return the steps up to the checkpoint whose lines should follow the last line of the log.

    The evaluation of the checkpoint's own step may still be due. `config` is that of the previous
    session, whose lines are the last.
    """
    path = workdir / METRICS_FILE
    last = max((line["step"] for line in read_metrics(path)), default=0) if path.exists() else 0
    logged, evaluated = config.train.log_every_steps, config.evaluation.every_epochs
    every = evaluated * task.steps_per_epoch
    return [
        step
        for step in range(last + 1, start + 1)
        if step % logged == 0 or (every and step % every == 0 and step < start)
    ]
