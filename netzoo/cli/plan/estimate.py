"""Estimates a training step on devices that need not exist."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import jax
from chex import ArrayTree
from jax.sharding import AbstractMesh, Mesh
from ml_collections import ConfigDict

from netzoo import mesh as meshes
from netzoo.cli.plan.collectives import bytes_sent
from netzoo.config.tasks import task_module
from netzoo.tasks import create_resolved_task, resolve_config
from netzoo.tasks.task import Task
from netzoo.training.step import build_train_program

DATA_PARALLEL, SHARED = "data parallel", "fsdp"
# XLA assigns CPU devices above this number to another process and does not compile for them.
MAX_DEVICES = 2048


@dataclass(frozen=True)
class Estimate:
    """Resources of a training step; rows, bytes and operations are per device."""

    devices: int
    strategy: str  # DATA_PARALLEL or SHARED
    compiled_for: int  # devices of the program; limited by XLA
    rows: int
    # Bytes.
    parameters: int
    optimizer: int  # optimizer state
    average: int  # average of the weights
    rest: int  # statistics, step, random key and the task's constants, such as teachers
    batch: int  # input rows
    gradients: int  # summed gradients, which are part of the temporaries
    temporaries: int  # further memory of the step, including new results
    arguments: int  # memory on a device between two steps, and the batch
    memory: int  # total during a step
    sent: int  # bytes per step
    sent_by_kind: Counter[str]  # the same by collective
    flops: float


def estimate(
    config: ConfigDict,
    task: Task,
    batch: ArrayTree,
    devices: int,
    *,
    fsdp: int,
    max_devices: int = MAX_DEVICES,
) -> Estimate:
    """Estimate a step; `batch` is the global batch, as arrays or shapes.

    Parameters are sharded over `fsdp` devices; -1 means all. The program is compiled for at most
    `max_devices`, with the same rows per device. If `devices` is larger, the memory between steps
    is computed for `devices`, the bytes sent are extrapolated to `devices`, and the temporaries and
    operations are those of a device among `max_devices`.

    Raises:
      UserError: `devices` does not divide the batch, or `fsdp` does not divide `devices`.
    """
    rows = jax.tree.leaves(batch)[0].shape[0]
    mesh = abstract_mesh(config, rows, devices, fsdp)
    state = build_train_program(config, task, mesh).state
    used = min(devices, max_devices)
    used_mesh = meshes.create_mesh(min(fsdp, used), jax.devices()[:used])
    program = build_train_program(config, task, used_mesh)
    sharding = meshes.split_batch(used_mesh)
    part = with_rows(batch, rows // devices * used)
    part = jax.tree.map(lambda x: x.update(sharding=sharding), part)
    constants = on_every_device(task.constants, used_mesh)
    compiled: Any = program.step.lower(program.state, part, constants).compile()
    memory = compiled.memory_analysis()
    sent = _sent_by_kind(compiled.as_text(), program.state.params, used_mesh)
    if devices > used:  # in a ring, each device sends a share of (n - 1) / n; see `collectives`
        growth = (devices - 1) / devices * used / (used - 1)
        sent = Counter({kind: round(count * growth) for kind, count in sent.items()})
    arguments = {
        "parameters": local_bytes(state.params),
        "optimizer": local_bytes(state.opt_state),
        "average": local_bytes(state.ema),
        "rest": local_bytes((state.step, state.key, state.model_state)) + _bytes(constants),
        "batch": _bytes(batch) // devices,
    }
    kept, new = sum(arguments.values()), memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Estimate(
        devices=devices,
        strategy=SHARED if mesh.shape[meshes.FSDP] > 1 else DATA_PARALLEL,
        compiled_for=used,
        rows=rows // devices,
        **arguments,
        gradients=arguments["parameters"],
        temporaries=memory.temp_size_in_bytes + new,
        arguments=kept,
        memory=kept + memory.temp_size_in_bytes + new,
        sent=sent.total(),
        sent_by_kind=sent,
        # XLA counts the body of a loop only once.
        flops=compiled.cost_analysis()["flops"] * config.train.grad_accum_steps,
    )


def abstract_mesh(config: ConfigDict, rows: int, devices: int, fsdp: int) -> AbstractMesh:
    """Return a mesh of abstract devices; raise a UserError if the rows do not fit."""
    shape = meshes.mesh_shape(devices, fsdp)
    mesh = AbstractMesh(shape, (meshes.DATA, meshes.FSDP), axis_types=meshes.AXIS_TYPES)
    part = rows // config.train.grad_accum_steps
    meshes.check_divisible(mesh, **{"the batch / train.grad_accum_steps": part})
    return mesh


def task_and_batch(config: ConfigDict, classes: int | None) -> tuple[ConfigDict, Task, ArrayTree]:
    """Return the resolved configuration, its task, and a batch as arrays or shapes.

    With a number of `classes`, the function opens no data.

    Raises:
      UserError: The configuration or the data is invalid, or the task cannot be planned without
        data.
    """
    config = resolve_config(config, open_data=classes is None)
    if classes is None:
        task = create_resolved_task(config)
        return config, task, next(task.train_iterator())
    task = task_module(config.task, "task").task_class(config)
    return config, *task.without_data(config, classes)


def on_every_device(tree: ArrayTree, mesh: Mesh) -> ArrayTree:
    """Return the shapes of arrays that every device holds."""
    place = meshes.replicated(mesh)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)


def with_rows(batch: ArrayTree, rows: int) -> ArrayTree:
    """Return the shapes of a batch with another number of rows."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype), batch)


def _sent_by_kind(program: str, params: ArrayTree, mesh: Mesh) -> Counter[str]:
    """Return the bytes that a device sends, with reduce-scattered gradients.

    The CPU compiler all-reduces whole gradients and slices them. The TPU compiler reduce-scatters
    some of them.
    """
    sent = bytes_sent(program, mesh.size)
    if mesh.shape[meshes.FSDP] == mesh.size:
        sharded = [x for x in jax.tree.leaves(params) if not x.sharding.is_fully_replicated]
        part = round((mesh.size - 1) / mesh.size * _bytes(sharded))
        if 2 * part <= sent["all-reduce"]:
            sent["all-reduce"] -= 2 * part
            sent["reduce-scatter"] += part
    return sent


def _bytes(tree: ArrayTree) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def local_bytes(tree: ArrayTree) -> int:
    """Return the bytes on each device."""
    local = jax.tree.map(lambda x: x.update(shape=x.sharding.shard_shape(x.shape)), tree)
    return _bytes(local)
