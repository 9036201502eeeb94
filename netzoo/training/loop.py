"""The training loop of all tasks.

To keep the device busy, the loop takes a batch, dispatches step n + 1, and then reads the metrics
of step n. Nothing else waits for the device. A checkpoint is saved only after the metrics of its
step were read and are finite.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from chex import ArrayTree
from jax.sharding import Mesh
from ml_collections import ConfigDict

from netzoo import mesh as meshes
from netzoo import processes
from netzoo.config import check_same_run, flatten, save_config
from netzoo.console import say
from netzoo.errors import UserError, note, noting
from netzoo.files import filling
from netzoo.garbage import no_collection
from netzoo.kernels import describe_precision
from netzoo.paths import run_path
from netzoo.progress import Progress, format_metric
from netzoo.tasks.curves import training_curves
from netzoo.tasks.task import Task
from netzoo.training import average, schedule
from netzoo.training.batch_stats import make_estimate
from netzoo.training.clock import Clock
from netzoo.training.continuation import check_data, notes
from netzoo.training.evaluation import evaluate_rows, make_eval_step
from netzoo.training.prepare import evaluation_batches, prepare_run
from netzoo.training.signals import StopSignal
from netzoo.training.step import MUST_BE_FINITE, Metrics, build_train_program
from netzoo.weights.provenance import provenance
from netzoo.workdir import CURVES_FILE, METRICS_FILE, PROFILE
from netzoo.workdir.checkpoint import BestCheckpoint, Checkpoints
from netzoo.workdir.environment import add_changes, changes_since, save_environment
from netzoo.workdir.folder import has_begun, make_run_folder
from netzoo.workdir.lock import Lock, lock_run, locked_error
from netzoo.workdir.metrics_log import MetricsWriter, read_metrics

# Steps in a trace. It starts as many steps after the start, or half-way through a short run.
PROFILED_STEPS = 10
# A bad batch affects one step. Ten in a row are not chance (probability 1e-6 if a quarter of the
# batches are bad): the parameters are bad, and training cannot recover.
MAX_SKIPPED_IN_A_ROW = 10
_NO_BATCH = (
    "The batch of step {} could not be made. Fix this, and the same command continues from the "
    "newest checkpoint."
)


def train(config: ConfigDict, workdir: str | os.PathLike[str]) -> int:
    """Train, or continue the run in `workdir`; create the folder if it is missing.

    Returns:
      The exit status: 0 if training is complete, 128 plus the signal number if a signal
      (`netzoo.training.signals`) stopped it after a checkpoint.

    Raises:
      UserError: The configuration, the data or the run in `workdir` is invalid, or another process
        trains there (both before compilation); or the loss is not finite.
    """
    workdir = run_path(workdir)
    with no_collection():
        config, task, mesh, environment = prepare_run(config, workdir)
    make_run_folder(workdir)
    processes.check_shared(workdir)
    # One process locks the folder for all; if it fails, all end.
    lock = lock_run(workdir) if meshes.is_writer() else None
    if processes.anyone(meshes.is_writer() and lock is None):
        raise locked_error(workdir)
    with lock or contextlib.nullcontext(), StopSignal() as stop:
        if meshes.is_writer() and has_begun(workdir):
            check_same_run(config, workdir)  # another process may have started it meanwhile
        with contextlib.ExitStack() as stack:
            TrainingLoop(config, workdir, task, mesh, environment, lock, stop, stack).run()
        if meshes.is_writer():
            title = f"{config.model.name} on {config.data.source}"
            lines = read_metrics(workdir / METRICS_FILE)
            training_curves(lines, workdir / CURVES_FILE, title, metric=task.main_metric)
    if stop.signal is None:
        return 0
    name = signal.Signals(stop.signal).name
    say(f"stopped by {name} after saving a checkpoint. The same command continues.")
    return 128 + stop.signal


def announce(
    config: ConfigDict, task: Task, mesh: Mesh, parameters: int, tables: str, notes: list[str]
) -> None:
    """Print the network, the data, the devices and `notes`."""
    devices, steps = mesh.devices, task.steps_per_epoch
    say(
        f"{config.model.name}, {parameters:,} parameters, on {config.data.source} "
        f"{config.data.train_split}: {config.train.epochs} epochs of {steps} steps, "
        f"{devices.size} {devices.flat[0].platform} device(s), {jax.process_count()} process(es)"
    )
    validation, test = config.data.validation_split, config.data.test_split
    best = f"validation on {validation}" if validation else "no validation split, no best weights"
    held = f"{test} is held out for the test" if test else "no test split"
    say(f"{best}; {held}")
    if precision := describe_precision(devices.flat[0].platform, config.matmul_precision):
        say(precision)
    notes = [*notes, *task.notes(), *schedule.notes(config, steps)]
    for line in notes if meshes.is_writer() else ():
        note(line)
    say(tables)


class _Interrupted(Exception):
    """A signal has ended an evaluation."""


class TrainingLoop:
    """The steps of this process, with their inputs and counters."""

    def __init__(
        self,
        config: ConfigDict,
        workdir: Path,
        task: Task,
        mesh: Mesh,
        environment: dict[str, Any],
        lock: Lock | None,
        stop: StopSignal,
        stack: contextlib.ExitStack,
    ):
        """Create and restore what the steps need; `stack` closes it at the end."""
        self.config, self.workdir, self.task, self.stop = config, workdir, task, stop
        self.starting = stack.enter_context(contextlib.ExitStack())  # until the first step
        self.starting.enter_context(no_collection())
        self.total_steps = config.train.epochs * task.steps_per_epoch
        # Detect errors of the splits now, not an epoch later.
        self.evaluation_batches = evaluation_batches(config, task)
        self.iterator = task.train_iterator()
        self.checkpoints = Checkpoints(workdir, config.checkpoint.keep)
        exist = self.checkpoints.exist()
        changes = changes_since(workdir, environment) if exist else {}
        if exist:
            check_data(config, workdir, environment["data"], changes)
        pretrained = None if exist else task.pretrained_variables()
        processes.check_same_arrays(config.init.weights, pretrained)
        program = build_train_program(config, task, mesh, pretrained)
        self.estimate = make_estimate(config, task, mesh)
        restored = self.checkpoints.restore(program.state, self.iterator)
        self.start = restored[0] if restored else 0
        processes.check_same({"step of the newest intact checkpoint": self.start})
        self.state = restored[1] if restored else program.init(pretrained)
        parameters = sum(leaf.size for leaf in jax.tree.leaves(program.state.params))
        lines = []
        if meshes.is_writer():
            lines = notes(config, workdir, task, self.start, changes) if restored else []
            self._save_description(environment, parameters, changes)
        self.train_step = program.step_of(task, mesh)
        self.eval_step = make_eval_step(task.evaluation_step, mesh, config.matmul_precision)
        self.put = meshes.batch_placer(mesh)
        stack.callback(self.checkpoints.close)
        self.best = self.log = None
        if config.data.validation_split:
            self.best = stack.enter_context(contextlib.closing(BestCheckpoint(workdir)))
        # Process 0 reads the log for all.
        self.evaluated = not processes.anyone(meshes.is_writer() and self._lacks_evaluation())
        announce(config, task, mesh, parameters, program.tables, lines)
        self._announce_start()
        if meshes.is_writer():
            step = self.start if restored else None
            options = {"writers": config.writers, "config": flatten(config), "lock": lock}
            log = MetricsWriter(workdir, resume_step=step, evaluated=self.evaluated, **options)
            self.log = stack.enter_context(log)
        self.progress = stack.enter_context(
            Progress(self.total_steps, self.start, config.model.name, task.throughput_unit)
        )
        self.stop.listen(self.progress.message)
        self.trace = stack.enter_context(contextlib.ExitStack())
        self.clock, self.skipped_in_a_row = Clock(), 0
        self.process = f"{os.getpid()}-{time.time_ns()}"

    def _announce_start(self) -> None:
        rest = "its evaluation is missing" if not self.evaluated else "nothing to do"
        if self.start >= self.total_steps or (self.evaluated and self._stalled(self.start)):
            say(f"training is complete at step {self.start}; {rest}")
        else:
            continuing = f"continuing at step {self.start}"
            say(continuing if self.start else "compiling the training step")

    def _save_description(
        self, environment: dict[str, Any], parameters: int, changes: dict[str, Any]
    ) -> None:
        """Write what describes the run: configuration, environment and the task's files.

        It runs after the checks, so that a rejected configuration is not saved and the user can
        correct it.
        """
        config, workdir = self.config, self.workdir
        if self.start == 0:
            self.task.save(workdir)
            init = config.init.weights or "random"
            if config.init.weights and (found := provenance(config.init.weights)):
                environment = {**environment, "weights": found}
            save_environment(workdir, environment, sys.orig_argv, parameters, init)
        elif changes:
            add_changes(workdir, self.start, changes)
        save_config(config, workdir)  # keys that may change have their present values

    def _evaluates_at(self, step: int) -> bool:
        every = self.config.evaluation.every_epochs * self.task.steps_per_epoch
        return step == self.total_steps or (every > 0 and step % every == 0)

    def _lacks_evaluation(self) -> bool:
        """Return whether a signal or a kill has interrupted the evaluation of the restored step."""
        if not self.start or not self._evaluates_at(self.start):
            return False
        path, name = self.workdir / METRICS_FILE, f"validation_{self.task.main_metric}"
        for line in read_metrics(path) if path.exists() else []:
            if line["kind"] == "eval" and line["step"] == self.start:
                return self.best is not None and not self.best.decided(line.get(name))
        return True

    def run(self) -> None:
        """Run the steps after the restored one, to the end or until a signal."""
        checkpoint_every = self.config.checkpoint.every_steps or self.task.steps_per_epoch
        if not self.evaluated and not self._evaluate(self.start):
            return
        if self._stalled(self.start):
            self._stop_early(self.start)
            return
        unread: tuple[int, int, Metrics] | None = None
        for step in range(self.start + 1, self.total_steps + 1):
            self._profile(step)
            with self.clock.waiting(), noting(_NO_BATCH.format(step)):
                batch = next(self.iterator)
            # The step donates the old state, whose arrays are freed.
            self.state, metrics = self.train_step(self.state, self.put(batch))
            self.starting.close()
            if unread:
                self.finish_step(*unread)
            # An estimate if the processes read different rows.
            count = self.task.count(batch) * jax.process_count()
            unread = (step, count, metrics)
            last = step == self.total_steps
            logging = step % self.config.train.log_every_steps == 0
            if logging and jax.process_count() > 1:
                # Communication of two programs at once can deadlock.
                jax.block_until_ready(metrics)
            stopping = self.stop.agreed(logging)
            evaluating = self._evaluates_at(step)
            regular = last or step % checkpoint_every == 0
            if evaluating or regular or stopping:
                self.finish_step(*unread)
                unread = None
            # A skipped step has no new state, and saving it would delete an older checkpoint.
            regular = last or (regular and not self.skipped_in_a_row)
            if evaluating and self.config.train.patience:
                regular = True  # the evaluation may end the run
            if evaluating and self.estimate:
                with self.clock.paused():
                    self.state = self.estimate(self.state, self.put)
            # Saved first, because a signal may leave no time for an evaluation. The continued run
            # then evaluates the restored step.
            if regular:
                self._save(step)
            if evaluating and not stopping:
                stopping = not self._evaluate(step)
            if stopping:
                if not regular:
                    self._save(step, regular=False)
                return
            if self._stalled(step):
                self._stop_early(step)
                return

    def _stalled(self, step: int) -> bool:
        """Return whether the evaluation of this step ends the run early.

        The step of the best weights determines this, so a continued run stops at the same step.
        """
        patience, every = self.config.train.patience, self.config.evaluation.every_epochs
        if not patience or not self.best or not 0 < step < self.total_steps:
            return False
        steps = patience * every * self.task.steps_per_epoch
        return self._evaluates_at(step) and step - self.best.step >= steps

    def _stop_early(self, step: int) -> None:
        """Report that the run is complete before its last epoch."""
        assert self.best
        epoch, best = step / self.task.steps_per_epoch, self.best.step
        self.progress.message(
            f"stopped early at epoch {epoch:g}: the validation {self.task.main_metric} has not "
            f"improved for {self.config.train.patience} evaluations, since step {best}"
        )
        if self.log:
            self.log.write("stop", step, epoch, {"best_step": best})

    def _save(self, step: int, *, regular: bool = True) -> None:
        with self.clock.paused():
            # Wait, so that no kill leaves this checkpoint without the best weights that precede it.
            if self.best:
                self.best.wait()
            if self.log:
                self.log.sync()
            self.checkpoints.save(step, self.state, self.iterator, regular=regular)

    def finish_step(self, step: int, count: int, metrics: Metrics) -> None:
        """Wait for the metrics of a step, check them, and log them at log steps."""
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self.clock.step_done(count)
        self._check_finite(step, values)
        if step % self.config.train.log_every_steps and step != self.total_steps:
            return
        epoch = step / self.task.steps_per_epoch
        rate, data_wait = self.clock.rates()
        timing = {
            f"{self.task.throughput_unit}_per_second": rate,
            "data_wait": data_wait,
            "wall_seconds": self.clock.elapsed(),
            "process": self.process,
        }
        if self.log:
            self.log.write("train", step, epoch, values, timing)
        self.progress.update(step, epoch=epoch, rate=rate, loss=values["loss"], data_wait=data_wait)

    def _check_finite(self, step: int, values: dict[str, float]) -> None:
        """Raise a UserError at a non-finite step, unless the step is skipped."""
        self.skipped_in_a_row = int(values.get("skipped_in_a_row", 0))
        checked = {name: values[name] for name in MUST_BE_FINITE if name in values}
        if np.isfinite([*checked.values()]).all():
            return
        names = (f"{name.replace('_', ' ')} {value}" for name, value in checked.items())
        problem = f"step {step}: {', '.join(names).replace('grad norm', 'gradient norm')}"
        if 0 < self.skipped_in_a_row < MAX_SKIPPED_IN_A_ROW:
            self.progress.message(f"{problem}; skipped, {values['skipped']:.0f} so far")
            return
        many = f", the {MAX_SKIPPED_IN_A_ROW}th in a row" if self.skipped_in_a_row else ""
        raise UserError(
            f"{problem}{many}. Training has stopped; the last checkpoint in {self.workdir} was "
            "saved before this step. "
            "Lower optimizer.learning_rate, lengthen schedule.warmup_epochs or set train.clip_norm."
        )

    def _evaluate(self, step: int) -> bool:
        """Evaluate, log the results, and keep the weights if they are the best.

        Return whether the evaluation was completed, not interrupted by a signal.
        """
        results, metric = {}, self.task.main_metric
        variables = self.state.evaluation_variables
        put, check = self.put, self._check_signal
        try:
            with self.clock.paused():
                for name, batches in self.evaluation_batches.items():
                    found = evaluate_rows(self.eval_step, variables, batches, put, check)
                    metrics = self.task.metrics(*found)
                    results[f"{name}_loss"] = metrics["loss"]
                    results[f"{name}_{metric}"] = metrics[metric]
        except _Interrupted:
            return False
        epoch = step / self.task.steps_per_epoch
        weights = average.kind(self.config)
        if self.log:
            self.log.write("eval", step, epoch, {**results, "weights": weights})
            with self.clock.paused():
                self.log.sync()
        listed = "  ".join(f"{name} {format_metric(value)}" for name, value in results.items())
        self.progress.message(f"epoch {epoch:g} ({weights}): {listed}")
        if self.best:
            self.best.save(step, {"ema": variables}, results[f"validation_{metric}"])
        return True

    def _check_signal(self, number: int, sums: ArrayTree) -> None:
        """End an evaluation with an error after a batch, if the processes agree to stop the run."""
        logging = number % self.config.train.log_every_steps == 0
        if logging and jax.process_count() > 1:
            jax.block_until_ready(sums)
        if self.stop.agreed(logging):
            raise _Interrupted

    def _profile(self, step: int) -> None:
        """Start or stop the trace before a step; the end of a short run stops it too."""
        if not self.config.profile or not meshes.is_writer():
            return
        # A short run starts half-way, because the first step compiles.
        first = self.start + min(PROFILED_STEPS, (self.total_steps - self.start) // 2 + 1)
        if step == first:
            last, folder = min(step + PROFILED_STEPS - 1, self.total_steps), self.workdir / PROFILE
            self.progress.message(f"tracing steps {step} to {last} into {folder}")
            jax.profiler.start_trace(str(self.trace.enter_context(filling(folder))))
            self.trace.callback(jax.profiler.stop_trace)
        elif step == first + PROFILED_STEPS:
            self.trace.close()
