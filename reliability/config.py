"""A run of a few seconds that uses everything with state, and can break at a chosen place.

    python train.py --config reliability/config.py --workdir W
    python train.py --config reliability/config.py:step,12 --workdir W

The second run kills itself after it has read the metrics of step 12. `BREAKS` has the other places.
Only functions are patched: the configuration and the numbers are those of the first run.
"""

import copy
import itertools
import os
import shutil
import signal
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from netzoo.cli import join
from netzoo.config import default_config
from netzoo.workdir import bucket_lock

SIGNALS = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU),
)
STEPS_PER_EPOCH, EPOCHS, CHECKPOINT_EVERY = 6, 4, 2
STEPS = STEPS_PER_EPOCH * EPOCHS


def get_config(break_at: str | None = None) -> ConfigDict:
    """Return the configuration; `break_at` is `PLACE,NUMBER` of `BREAKS`."""
    bucket_lock.BEAT_SECONDS = 0.5  # so that the lock of a killed run in a bucket expires soon
    if break_at:
        # So that a job ends soon after one of its processes dies.
        join.HEARTBEAT_TIMEOUT_SECONDS = 5
        place, number = break_at.split(",")
        BREAKS[place](int(number))
    config = default_config()
    config.modules = ("reliability.network",)
    config.model.update(name="reliability_small", dropout_rate=0.2)
    config.data.source = "synthetic_flowers"
    config.data.train_split = "train[:48]"
    config.data.validation_split = "train[48:72]"
    config.data.test_split = "test[:8]"
    config.data.image_size = 32
    config.data.num_threads = 1
    config.augment.randaugment_layers = 1
    config.augment.mixup = 0.2
    config.train.epochs = EPOCHS
    config.train.batch_size = 8
    config.train.ema_decay = 0.9
    config.train.log_every_steps = 1
    config.optimizer.weight_decay = 0.01
    config.evaluation.batch_size = 8
    config.evaluation.train_examples = 8
    config.checkpoint.every_steps = CHECKPOINT_EVERY
    return config


def _patch(where: Any, name: str, before: Callable[..., None], *, number: int = 1) -> None:
    """Call `before` with the same arguments before the `number`th call of a function."""
    function, calls = getattr(where, name), itertools.count(1)

    def patched(*arguments, **options):
        if next(calls) == number:
            before(*arguments, **options)
        return function(*arguments, **options)

    setattr(where, name, patched)


def _die(*_arguments: Any, **_options: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _after_step(step: int, act: Callable[[], None]) -> None:
    from netzoo.training.loop import TrainingLoop

    finish_step = TrainingLoop.finish_step

    def patched(self, at, *rest):
        finish_step(self, at, *rest)
        if at == step:
            act()

    TrainingLoop.finish_step = patched


def _in_configuration(number: int) -> None:
    """Kill when config.json is completely written, under its temporary name."""
    from netzoo import files

    replace, calls = os.replace, itertools.count(1)

    def patched(partial, path):
        if os.path.basename(path) == "config.json" and next(calls) == number:
            _die()
        replace(partial, path)

    files.os.replace = patched


def _in_metrics(number: int) -> None:
    """Kill when half of the line is on the disk."""
    from netzoo.workdir.metrics_log import MetricsWriter

    def half(self, *_arguments):
        with self.path.open("ab") as file:
            file.write(b'{"kind": "train", "step"')
        _die()

    _patch(MetricsWriter, "write", half, number=number)


def _in_evaluation(number: int) -> None:
    """Kill in a batch of an evaluation; an evaluation has four batches, of two splits."""
    import netzoo.mesh
    from netzoo.training import loop

    evaluate, placer, running = loop.evaluate, netzoo.mesh.batch_placer, []
    calls = itertools.count(1)

    def patched(*arguments):
        running.append(True)
        result = evaluate(*arguments)
        running.clear()
        return result

    def counting(mesh):
        place = placer(mesh)

        def placed(batch):
            if running and next(calls) == number:
                _die()
            return place(batch)

        return placed

    loop.evaluate, netzoo.mesh.batch_placer = patched, counting


def _before_rename(number: int) -> None:
    """Kill when all files and checksums exist and the step still has its temporary name."""
    from orbax.checkpoint.path import atomicity

    _patch(atomicity.AtomicRenameTemporaryPath, "finalize", _die, number=number)


def _in_checksums(number: int) -> None:
    from netzoo.workdir import checksums

    def half(folder):
        (folder / checksums.CHECKSUMS_FILE).write_text('{"state/')
        _die()

    _patch(checksums, "write_checksums", half, number=number)


def _in_deletion(number: int) -> None:
    """Kill when one file of a step that is being deleted is gone, but the others exist."""
    remove, calls = shutil.rmtree, itertools.count(1)

    def patched(path, *rest, **options):
        if os.path.basename(os.fspath(path)).isdigit() and next(calls) == number:
            files = (os.path.join(folder, f) for folder, _, names in os.walk(path) for f in names)
            os.unlink(next(files))
            _die()
        remove(path, *rest, **options)

    shutil.rmtree = patched


def _bad_worker(number: int) -> None:
    """Let the data thread raise an error at the `number`th batch of this process."""
    from netzoo.data.images import TrainBatches

    def fail(*_arguments):
        raise RuntimeError("this batch cannot be made")

    _patch(TrainBatches, "__getitem__", fail, number=number)


def _bad_loss(number: int, count: int = 1) -> None:
    """Make the loss of `count` steps NaN; the first of them follows step `number`."""
    import jax.numpy as jnp

    from netzoo.training import step as steps

    make_train_step = steps.make_train_step

    def patched(task, *arguments, **options):
        def train_step(state, batch):
            bad = (state.step >= number) & (state.step < number + count)

            def loss(*loss_arguments):
                value, model_state, metrics = task.loss(*loss_arguments)
                metrics = {**metrics, "loss": jnp.where(bad, jnp.nan, metrics["loss"])}
                return value, model_state, metrics

            broken = copy.copy(task)
            broken.loss = loss
            return make_train_step(broken, *arguments, **options)(state, batch)

        return train_step

    steps.make_train_step = patched


def _fail_to_rename(number: int) -> None:
    """Let a checkpoint fail when it gets its final name, with an error of the disk."""
    from orbax.checkpoint.path import atomicity

    def fail(*_arguments):
        raise OSError(5, "Input/output error")

    _patch(atomicity.AtomicRenameTemporaryPath, "finalize", fail, number=number)


def _signal_after_step(step: int, number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_DFL)  # `nohup` leaves SIGHUP ignored
    _after_step(step, lambda: os.kill(os.getpid(), number))


BREAKS: dict[str, Callable[[int], None]] = {
    "nowhere": lambda number: None,
    # These kill. The number counts the calls in the process; for `step`, it is the step.
    "step": lambda step: _after_step(step, _die),
    "configuration": _in_configuration,
    "metrics": _in_metrics,
    "evaluation": _in_evaluation,
    "before_rename": _before_rename,
    "checksums": _in_checksums,
    "deletion": _in_deletion,
    # These do not kill.
    **{
        number.name.lower(): lambda step, number=number: _signal_after_step(step, number)
        for number in SIGNALS
    },
    "sigterm_twice": lambda step: _after_step(
        step, lambda: [os.kill(os.getpid(), signal.SIGTERM) for _ in range(2)]
    ),
    "worker": _bad_worker,
    "fail_to_rename": _fail_to_rename,
    "nan": _bad_loss,
    "nan_always": lambda step: _bad_loss(step, STEPS),
}
