"""Estimates what one training step needs on devices that need not exist."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import jax
from chex import ArrayTree
from jax.sharding import AbstractMesh, Mesh
from ml_collections import ConfigDict

from netzoo import mesh as meshes
from netzoo.cli.plan.collectives import bytes_sent
from netzoo.tasks.task import Task
from netzoo.training.step import build_train_program

DATA_PARALLEL, SHARED = "data parallel", "fsdp"
# XLA takes CPU devices beyond this number for another process's, and compiles nothing for them.
MAX_DEVICES = 2048


@dataclass(frozen=True)
class Estimate:
    """What one training step needs; rows, bytes and operations are those of each device."""

    devices: int
    strategy: str  # DATA_PARALLEL or SHARED
    compiled_for: int  # devices of the program; fewer where XLA compiles for no more
    rows: int
    # Bytes.
    parameters: int
    optimizer: int  # its state
    average: int  # the moving average
    rest: int  # statistics, step and key
    batch: int  # the rows
    gradients: int  # summed; a part of the temporaries
    temporaries: int  # what the step needs besides, and what it returns in new memory
    arguments: int  # what lies on a device between two steps, and the batch
    memory: int  # all of it, during a step
    sends: int  # in a step
    sends_by_kind: Counter[str]  # the same by kind of collective
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
    """Estimates one step for the batch of all devices, or its shapes.

    `fsdp` devices share the parameters; -1 means all. The program is compiled for at most
    `max_devices`. If there are more, it has as many rows on each of them, and only what lies on a
    device between steps is computed for `devices`.

    Raises:
      UserError: `devices` cannot divide the batch, or `fsdp` not the devices.
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
    compiled: Any = program.step.lower(program.state, part).compile()
    memory = compiled.memory_analysis()
    sends = _sends(compiled.as_text(), program.state.params, used_mesh)
    if devices > used:  # a ring's share
        growth = (devices - 1) / devices * used / (used - 1)
        sends = Counter({kind: round(count * growth) for kind, count in sends.items()})
    arguments = {
        "parameters": _local_bytes(state.params),
        "optimizer": _local_bytes(state.opt_state),
        "average": _local_bytes(state.ema),
        "rest": _local_bytes((state.step, state.key, state.model_state)),
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
        sends=sends.total(),
        sends_by_kind=sends,
        # XLA counts the body of a loop once.
        flops=compiled.cost_analysis()["flops"] * config.train.grad_accum_steps,
    )


def abstract_mesh(config: ConfigDict, rows: int, devices: int, fsdp: int) -> AbstractMesh:
    """Returns a mesh of devices that need not exist; raises UserError if the rows do not fit."""
    shape = meshes.mesh_shape(devices, fsdp)
    mesh = AbstractMesh(shape, (meshes.DATA, meshes.FSDP), axis_types=meshes.AXIS_TYPES)
    part = rows // config.train.grad_accum_steps
    meshes.check_divisible(mesh, **{"the batch / train.grad_accum_steps": part})
    return mesh


def with_rows(batch: ArrayTree, rows: int) -> ArrayTree:
    """Returns the shapes of a batch with another number of rows."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype), batch)


def _sends(program: str, params: ArrayTree, mesh: Mesh) -> Counter[str]:
    """Returns the bytes that a device sends, with the gradients of sharded parameters scattered.

    CPU's compiler sums whole gradients and cuts out a device's part; the compilers for GPU and TPU
    reduce and scatter.
    """
    sends = bytes_sent(program, mesh.size)
    if mesh.shape[meshes.FSDP] == mesh.size:
        sharded = [x for x in jax.tree.leaves(params) if not x.sharding.is_fully_replicated]
        part = round((mesh.size - 1) / mesh.size * _bytes(sharded))
        if 2 * part <= sends["all-reduce"]:
            sends["all-reduce"] -= 2 * part
            sends["reduce-scatter"] += part
    return sends


def _bytes(tree: ArrayTree) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _local_bytes(tree: ArrayTree) -> int:
    """Returns the bytes that lie on each device."""
    local = jax.tree.map(lambda x: x.update(shape=x.sharding.shard_shape(x.shape)), tree)
    return _bytes(local)
