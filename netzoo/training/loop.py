"""The training loop, the same for every task.

Order of a step, which keeps the device busy: take a batch, dispatch step n + 1, and only then read
the metrics of step n. Nothing else in the loop waits for the device. A checkpoint is taken only
after the metrics of its step were read and found finite.
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from chex import ArrayTree
from ml_collections import ConfigDict

from netzoo import mesh as meshes
from netzoo.config import CONFIG_FILE, check_same_run, save_config
from netzoo.errors import UserError
from netzoo.progress import Progress, format_metric
from netzoo.tasks import create_task, resolve_config
from netzoo.training.assembly import assemble
from netzoo.training.clock import Clock
from netzoo.training.curves import training_curves
from netzoo.training.evaluation import compiled_sums, evaluate
from netzoo.training.state import TrainState
from netzoo.training.step import MUST_BE_FINITE
from netzoo.workdir import CURVES_FILE, ENVIRONMENT_FILE, METRICS_FILE
from netzoo.workdir.checkpoint import BestCheckpoint, Checkpoints
from netzoo.workdir.environment import environment_record
from netzoo.workdir.lock import lock_run, locked_error
from netzoo.workdir.metrics_log import MetricsWriter, read_metrics

PROFILED_STEPS = (10, 20)
# A bad batch spoils one step, and ten in a row are no chance even where a quarter of the batches is
# bad (1e-6): then it is the parameters, and no later batch mends them.
MAX_SKIPPED_IN_A_ROW = 10


def train(config: ConfigDict, workdir: str | os.PathLike[str]) -> int:
    """Trains, or continues the run in `workdir`.

    Args:
      config: See `netzoo.config.default_config`.
      workdir: Folder of the run, made where there is none.

    Returns:
      The exit status: 0 when training is complete, 128 plus the signal's number when SIGTERM or
      SIGINT stopped it after a checkpoint.

    Raises:
      UserError: Configuration, data or the run in `workdir` are not as they should be, or
        another process trains there (before anything is compiled), or the loss is not finite.
    """
    workdir = Path(workdir)
    config = resolve_config(config, training=True)
    # One answer for all processes, before the first of them writes.
    continued = bool(meshes.largest((workdir / CONFIG_FILE).exists()))
    if continued:
        check_same_run(config, workdir)
    mesh = meshes.create_mesh(config.sharding.fsdp)
    task = create_task(config, workdir if continued else None)
    meshes.check_divisible(mesh, **task.batch_sizes())
    workdir.mkdir(parents=True, exist_ok=True)
    # One process locks the folder for all of them; a refusal ends them all.
    lock = lock_run(workdir) if meshes.is_writer() else None
    if meshes.largest(meshes.is_writer() and lock is None):
        raise locked_error(workdir)
    with lock or contextlib.nullcontext():
        if meshes.is_writer() and (workdir / CONFIG_FILE).exists():
            check_same_run(config, workdir)  # another process may have begun it meanwhile
        return _Run(config, workdir, task, mesh).run()


@contextlib.contextmanager
def _batch_named(step: int) -> Iterator[None]:
    """Adds to what a thread of the pipeline raised which step it was for, and what to do."""
    try:
        yield
    except Exception as error:
        error.add_note(
            f"The batch of step {step} could not be made. Mend that, and the same command "
            "continues from the newest checkpoint."
        )
        raise


class _Run:
    """One process's part of a run."""

    def __init__(self, config: ConfigDict, workdir: Path, task, mesh):
        self.config, self.workdir, self.task, self.mesh = config, workdir, task, mesh
        self.total_steps = config.train.epochs * task.steps_per_epoch
        self.put = meshes.batch_placer(mesh)
        self.evaluation_step = compiled_sums(task.evaluation_sums, mesh)
        self.signal: int | None = None
        self.skipped_in_a_row = 0
        self.process = f"{os.getpid()}-{time.time_ns()}"

    def run(self) -> int:
        """Sets up, restores, trains to the end or to a signal, and draws the curves."""
        self._evaluation_batches()  # opens them, or says why not, an epoch earlier
        iterator = self.task.train_iterator()
        checkpoints = Checkpoints(self.workdir, self.config.checkpoint.keep)
        pretrained = None if checkpoints.exist() else self.task.pretrained_variables()
        state, step_function = self._create(pretrained)
        # Not before: what was refused until here would make a mended configuration another one.
        if meshes.is_writer() and not (self.workdir / CONFIG_FILE).exists():
            self.task.save(self.workdir)
            save_config(self.config, self.workdir)
        restored = checkpoints.restore(state, iterator)
        start, state = restored if restored else (0, state)
        self._describe(state, start)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self.writer: MetricsWriter | None = None
        self.best: BestCheckpoint | None = None
        self.progress = Progress(
            self.total_steps, start, self.config.model.name, self.task.throughput_unit
        )
        with contextlib.ExitStack() as stack:
            stack.callback(checkpoints.close)
            if self.config.data.validation_split:
                self.best = BestCheckpoint(self.workdir)
                stack.callback(self.best.close)
            if meshes.is_writer():
                resume_step = start if restored else None
                self.writer = stack.enter_context(
                    MetricsWriter(self.workdir, resume_step=resume_step)
                )
            stack.enter_context(self.progress)
            self._steps(state, start, step_function, iterator, checkpoints)
        if meshes.is_writer():
            self._draw()
        if self.signal is not None:
            name = signal.Signals(self.signal).name
            print(f"stopped by {name}; saved. The same command continues.", flush=True)
            return 128 + self.signal
        return 0

    def _draw(self) -> None:
        records = read_metrics(self.workdir / METRICS_FILE)
        if any(record["kind"] == "train" for record in records):
            title = f"{self.config.model.name} on {self.config.data.source}"
            path = self.workdir / CURVES_FILE
            training_curves(records, path, title, metric=self.task.main_metric)

    def _create(self, pretrained: ArrayTree | None) -> tuple[TrainState, Any]:
        made = assemble(self.config, self.task, self.mesh, pretrained)
        self.parameters = sum(leaf.size for leaf in jax.tree.leaves(made.state.params))
        self.tables = made.tables
        return made.create(pretrained), made.step

    def _describe(self, state: TrainState, start: int) -> None:
        config, devices = self.config, self.mesh.devices
        print(
            f"{config.model.name}, {self.parameters:,} parameters, on {config.data.source} "
            f"{config.data.train_split}: {config.train.epochs} epochs of "
            f"{self.task.steps_per_epoch} steps, {devices.size} {devices.flat[0].platform} "
            f"device(s), {jax.process_count()} process(es)\n{self.tables}"
        )
        if start >= self.total_steps:
            print(f"training is complete at step {start}; nothing to do", flush=True)
        elif start:
            print(f"continuing at step {start}", flush=True)
        else:
            init = config.init.weights or "random"
            environment = environment_record(sys.orig_argv, self.parameters, init)
            text = json.dumps(environment, indent=2) + "\n"
            if meshes.is_writer():
                (self.workdir / ENVIRONMENT_FILE).write_text(text)
            print("compiling the training step", flush=True)

    def _on_signal(self, number: int, frame: object) -> None:
        if self.signal is not None:
            os._exit(128 + number)  # the second signal means now
        self.signal = number
        self.progress.message("stopping after this step; once more stops at once")

    def _steps(self, state, start: int, step_function, iterator, checkpoints) -> None:
        """Takes the steps from `start` to the end, or to a signal."""
        self.clock = Clock()
        every = self.config.checkpoint.every_steps or self.task.steps_per_epoch
        pending: tuple[int, int, ArrayTree] | None = None
        for step in range(start + 1, self.total_steps + 1):
            self._profile(step - start)
            with self.clock.waiting(), _batch_named(step):
                batch = next(iterator)
            state, metrics = step_function(state, self.put(batch))
            if pending:
                self._read(*pending)
            # An estimate where every process reads other rows.
            units = self.task.count(batch) * jax.process_count()
            pending = (step, units, metrics)
            stopping = self._stops_after(step)
            evaluating = self._evaluates_at(step)
            saving = step % every == 0 or step == self.total_steps or stopping
            if evaluating or saving:
                self._read(*pending)
                pending = None
            if evaluating:
                with self.clock.paused():
                    self._evaluate(step, state)
            # After a skipped step there is nothing new to keep, and an older one would go for it.
            if saving and not (self.skipped_in_a_row and step < self.total_steps and not stopping):
                with self.clock.paused():
                    checkpoints.save(step, state, iterator)
            if stopping:
                return

    def _stops_after(self, step: int) -> bool:
        """Returns whether a signal ends the run here, for all processes the same.

        A signal may reach some of them only, or in different steps, and a process that goes on by
        itself waits for the others for ever. They ask each other when it is time to log.
        """
        if jax.process_count() > 1:
            if step % self.config.train.log_every_steps:
                return False
            self.signal = meshes.largest(self.signal or 0) or None
        return self.signal is not None

    def _read(self, step: int, units: int, metrics: ArrayTree) -> None:
        """Waits for the metrics of a step, checks them, and logs them if it is time."""
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self.clock.step_done(units)
        self._check_finite(step, values)
        every = self.config.train.log_every_steps
        if step % every and step != self.total_steps:
            return
        epoch = step / self.task.steps_per_epoch
        rate, data_wait = self.clock.rates()
        timing = {
            f"{self.task.throughput_unit}_per_second": rate,
            "data_wait": data_wait,
            "wall_seconds": self.clock.elapsed(),
            "process": self.process,
        }
        if self.writer:
            self.writer.write("train", step, epoch, values, timing)
        self.progress.update(step, epoch=epoch, rate=rate, loss=values["loss"], data_wait=data_wait)

    def _check_finite(self, step: int, values: dict[str, float]) -> None:
        """Ends the run at a step that is not finite, unless it was skipped and few before it."""
        self.skipped_in_a_row = int(values.get("skipped_in_a_row", 0))
        if np.isfinite([values[name] for name in MUST_BE_FINITE]).all():
            return
        found = (
            f"step {step}: loss {values['loss']}, gradient norm {values['grad_norm']}, "
            f"update norm {values['update_norm']}"
        )
        if 0 < self.skipped_in_a_row < MAX_SKIPPED_IN_A_ROW:
            self.progress.message(f"{found}; skipped, {values['skipped']:.0f} so far")
            return
        many = f", the {MAX_SKIPPED_IN_A_ROW}th in a row" if self.skipped_in_a_row else ""
        raise UserError(
            f"{found}{many}. Stopped; the last checkpoint in {self.workdir} is from before. Lower "
            "optimizer.learning_rate, lengthen schedule.warmup_epochs or set train.clip_norm."
        )

    def _evaluates_at(self, step: int) -> bool:
        period = self.config.evaluation.every_epochs * self.task.steps_per_epoch
        return step == self.total_steps or (period > 0 and step % period == 0)

    def _evaluation_batches(self) -> dict[str, Iterable[ArrayTree]]:
        """Returns those of a part of the training split, and of the other splits that there are."""
        data, some = self.config.data, self.config.evaluation.train_examples
        splits = {
            "train": (data.train_split, some),
            "validation": (data.validation_split, None),
            "test": (data.test_split, None),
        }
        return {
            name: self.task.evaluation_batches(split, limit)
            for name, (split, limit) in splits.items()
            if split
        }

    def _evaluate(self, step: int, state: TrainState) -> None:
        results = {}
        variables = state.evaluation_variables
        for name, batches in self._evaluation_batches().items():
            sums = evaluate(self.evaluation_step, variables, batches, self.put)
            summary = self.task.metrics(sums)
            results[f"{name}_loss"] = summary["loss"]
            results[f"{name}_{self.task.main_metric}"] = summary[self.task.main_metric]
        epoch = step / self.task.steps_per_epoch
        weights = "params" if state.ema is None else "ema"
        if self.writer:
            self.writer.write("eval", step, epoch, {**results, "weights": weights})
        listed = "  ".join(f"{name} {format_metric(value)}" for name, value in results.items())
        self.progress.message(f"epoch {epoch:g} ({weights}): {listed}")
        if self.best:
            value = results[f"validation_{self.task.main_metric}"]
            self.best.save(step, {"ema": variables}, value)

    def _profile(self, step: int) -> None:
        if not self.config.profile or not meshes.is_writer():
            return
        if step == PROFILED_STEPS[0]:
            jax.profiler.start_trace(str(self.workdir / "profile"))
        elif step == PROFILED_STEPS[1]:
            jax.profiler.stop_trace()
