"""Shows what a run would do: the option --dry-run of `netzoo train`."""

import statistics
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from chex import ArrayTree
from ml_collections import ConfigDict

from netzoo import mesh as meshes
from netzoo.cli.models import print_parts, totals
from netzoo.cli.plan.estimate import Estimate, estimate
from netzoo.console import print_table, say
from netzoo.errors import UserError
from netzoo.figures import INK, check_format, new_figure, save
from netzoo.models.summary import model_summary
from netzoo.tasks.curves import dress
from netzoo.training.continuation import check_data
from netzoo.training.loop import announce
from netzoo.training.prepare import Prepared, evaluation_batches, prepare_run
from netzoo.training.schedule import create_schedule
from netzoo.training.step import TrainProgram, build_train_program
from netzoo.workdir.environment import changes_since
from netzoo.workdir.folder import has_begun
from netzoo.workdir.outputs import check_writable

# Steps to measure after the first one, which compiles. They are fewer if all steps, including the
# first one, take longer than _SECONDS.
_STEPS, _SECONDS = 5, 60.0


def dry_run(
    config: ConfigDict, workdir: Path | None, figure: str | None, heading: str = ""
) -> None:
    """Check a run as training does, and print its network, data, schedule, memory and time.

    It writes no file except `figure`.

    Args:
      config: The configuration of the run.
      workdir: The folder of the run, which need not exist; None for any new folder.
      figure: File for a picture of the learning rate, or None.
      heading: Text to print after the checks, before the rest.

    Raises:
      UserError: Training would raise it before it compiles the step, or `figure` cannot be written.
    """
    check_writable(figure)
    check_format(figure)
    if jax.process_count() > 1:
        raise UserError("--dry-run shows a run of one process; start a single process")
    prepared, program, pretrained, notes = _checked(config, workdir)
    if heading:
        say(heading)
    config, task, mesh, environment = prepared
    summary = model_summary(task.model, config.data.get("image_size", 0))
    say(f"{config.model.name}: {totals(summary)}")
    print_parts(summary)
    announce(config, task, mesh, summary.parameters, program.tables, notes)
    _show_splits(config, environment["data"])
    rates = learning_rates(config, task.steps_per_epoch)
    _show_schedule(rates, task.steps_per_epoch)
    if figure:
        title = f"{config.model.name}: {config.schedule.name}, {config.train.epochs} epochs"
        draw_schedule(rates, task.steps_per_epoch, figure, title)
        say(f"written: {figure}")
    say("compiling the training step")
    batch = next(task.train_iterator())
    _show_memory(estimate(config, task, batch, mesh.size, fsdp=config.sharding.fsdp))
    _show_time(step_seconds(prepared, program, pretrained), len(rates))


def _checked(
    config: ConfigDict, workdir: Path | None
) -> tuple[Prepared, TrainProgram, ArrayTree | None, list[str]]:
    """Make the checks of training that precede compilation.

    Returns:
      The run, its programs, its initial variables if they are given, and lines for the user.
    """
    prepared = prepare_run(config, workdir)
    config, task, mesh, environment = prepared
    evaluation_batches(config, task)
    notes, pretrained = [], None
    if workdir is not None and has_begun(workdir):
        notes.append(f"{workdir} holds a run, which training would continue")
        check_data(config, workdir, environment["data"], changes_since(workdir, environment))
    else:
        pretrained = task.pretrained_variables()
    program = build_train_program(config, task, mesh, pretrained)
    return prepared, program, pretrained, notes


def _show_splits(config: ConfigDict, data: Mapping[str, Mapping[str, Any]]) -> None:
    rows = [
        (name, config.data[f"{name}_split"], f"{split['examples']:,}")
        for name, split in data.items()
    ]
    print_table(("data", "split", "examples"), rows, right=("examples",))


def learning_rates(config: ConfigDict, steps_per_epoch: int) -> np.ndarray:
    """Return the learning rate of every step of a run."""
    steps = jnp.arange(config.train.epochs * steps_per_epoch)
    return np.asarray(jax.vmap(create_schedule(config, steps_per_epoch))(steps))


def _show_schedule(rates: np.ndarray, steps_per_epoch: int) -> None:
    """Print the learning rate at the start, at its highest, and at each quarter of the run."""
    total = len(rates)
    quarters = (max(total * part // 4, 1) for part in range(1, 5))
    steps = sorted({1, int(rates.argmax()) + 1, *quarters})
    rows = [(f"{n:,}", f"{n / steps_per_epoch:.2f}", f"{rates[n - 1]:.3g}") for n in steps]
    head = ("step", "epoch", "learning rate")
    print_table(head, rows, right=head, caption=f"{total:,} steps, {steps_per_epoch:,} an epoch")


def draw_schedule(rates: np.ndarray, steps_per_epoch: int, path: str, title: str) -> None:
    """Draw the learning rate over the epochs."""
    figure = new_figure(7, 3.5, title)
    axes = figure.subplots()
    axes.plot((np.arange(len(rates)) + 1) / steps_per_epoch, rates, color=INK, linewidth=1.4)
    axes.set_xlim(0, len(rates) / steps_per_epoch)
    axes.set_ylim(bottom=0)
    dress(axes, "Learning rate")
    save(figure, path)


def _show_memory(memory: Estimate) -> None:
    names = ("parameters", "optimizer", "average", "batch", "temporaries")
    parts = ", ".join(f"{name} {getattr(memory, name) / 2**20:,.1f}" for name in names)
    say(
        "memory of each device in a step, from the program for the first batch: "
        f"{memory.memory / 2**20:,.1f} MiB ({parts})"
    )


def step_seconds(run: Prepared, program: TrainProgram, pretrained: ArrayTree | None) -> list[float]:
    """Measure the first training steps of a run, without the one that compiles."""
    state, put = program.init(pretrained), meshes.batch_placer(run.mesh)
    step, iterator, times = program.step_of(run.task, run.mesh), run.task.train_iterator(), []
    began = time.monotonic()
    for _ in range(_STEPS + 1):
        start = time.monotonic()
        state, metrics = step(state, put(next(iterator)))
        jax.block_until_ready(metrics)
        times.append(time.monotonic() - start)
        if len(times) > 1 and time.monotonic() - began > _SECONDS:
            break
    return times[1:]


def _show_time(seconds: list[float], steps: int) -> None:
    step = statistics.median(seconds)
    total = timedelta(seconds=round(step * steps))
    say(
        f"time: {step:.3g} s a step (median of {len(seconds)}), {total} for {steps:,} steps, "
        "without compilation, evaluations and checkpoints"
    )
