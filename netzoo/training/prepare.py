"""Checks a run and opens its data, before anything is compiled or written."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from chex import ArrayTree
from jax.sharding import Mesh
from ml_collections import ConfigDict

from netzoo import mesh as meshes
from netzoo import processes
from netzoo.config import check_same_run, shared_values
from netzoo.errors import UserError
from netzoo.tasks import create_resolved_task, resolve_config
from netzoo.tasks.task import Task
from netzoo.training.continuation import fingerprints
from netzoo.training.optimizer import check_optimizer
from netzoo.workdir.environment import describe_environment, shared_environment
from netzoo.workdir.folder import check_folder, has_begun
from netzoo.workdir.writers import check_writers


class Prepared(NamedTuple):
    """A checked run with its data."""

    config: ConfigDict  # resolved
    task: Task
    mesh: Mesh  # of all devices
    environment: dict[str, Any]  # see `netzoo.workdir.environment`


def prepare_run(config: ConfigDict, workdir: Path | None) -> Prepared:
    """Check a run and open its data; all processes of a job call it together.

    Args:
      config: The configuration.
      workdir: The folder of the run, which need not exist; None for a run without a folder.

    Raises:
      UserError: The configuration, the data or the run in `workdir` is invalid, or the processes
        differ.
    """
    if workdir is not None:
        check_folder(workdir)
    check_writers(config.writers)
    config = resolve_config(config, workdir, training=True)
    check_optimizer(config)
    # All processes must agree before any of them writes.
    processes.check_same({"devices": jax.local_device_count(), **shared_values(config)})
    begun = workdir is not None and has_begun(workdir)
    continued = workdir if processes.anyone(begun) else None
    if continued is not None:
        check_same_run(config, continued)
    mesh = meshes.create_mesh(config.sharding.fsdp)
    task = create_resolved_task(config, continued)
    if config.data.test_split:
        task.hold_out(config.data.test_split)
    meshes.check_divisible(mesh, **task.batch_sizes())
    environment = describe_environment(fingerprints(config, task))
    if task.files:
        environment["files"] = dict(task.files)
    processes.check_same(shared_environment(environment))
    return Prepared(config, task, mesh, environment)


def evaluation_batches(config: ConfigDict, task: Task) -> dict[str, Iterable[ArrayTree]]:
    """Return batches of a part of the training split, and of the validation split if any.

    It also opens the test split without reading it, to detect an unknown name before training.

    Raises:
      UserError: A split cannot be opened, or `train.patience` lacks a validation split.
    """
    data, limit = config.data, config.evaluation.train_examples
    if config.train.patience and not data.validation_split:
        raise UserError(
            f"train.patience is {config.train.patience}; expected 0 without data.validation_split, "
            "whose scores decide when training stops"
        )
    batches = {"train": task.evaluation_batches(data.train_split, limit)}
    if data.validation_split:
        batches["validation"] = task.evaluation_batches(data.validation_split)
    if data.test_split:
        task.evaluation_batches(data.test_split)
    return batches
