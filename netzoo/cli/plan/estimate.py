"""What one training step needs on devices that need not be there."""

from collections import Counter
from dataclasses import dataclass

import jax
from chex import ArrayTree
from jax.sharding import AbstractMesh, Mesh
from ml_collections import ConfigDict

from netzoo import mesh as meshes
from netzoo.cli.plan.collectives import bytes_sent
from netzoo.tasks.task import Task
from netzoo.training.assembly import assemble

DATA_PARALLEL, SHARED = "data parallel", "fsdp"
# XLA takes CPU devices beyond these for another process's and compiles nothing for them.
MOST_DEVICES = 2048


@dataclass(frozen=True)
class Estimate:
    """What one training step needs; bytes and operations are those of each device.

    Attributes:
      devices: How many there are.
      strategy: "data parallel" or "fsdp".
      compiled_for: Devices of the program; fewer than `devices` where XLA compiles for no more.
      rows: Rows of the batch on each device.
      parameters: Bytes of the parameters that a device keeps.
      optimizer: Of the optimizer's state.
      average: Of the moving average.
      rest: Of statistics, step and key.
      batch: Of the rows.
      gradients: Of the gradients after they were summed; part of the temporaries.
      temporaries: Of what the step needs besides, and of what it returns in new memory.
      flops: Floating-point operations of a step.
      sent: Bytes that a step sends, by kind of collective.
    """

    devices: int
    strategy: str
    compiled_for: int
    rows: int
    parameters: int
    optimizer: int
    average: int
    rest: int
    batch: int
    gradients: int
    temporaries: int
    flops: float
    sent: Counter[str]

    @property
    def arguments(self) -> int:
        """Bytes that lie on a device between two steps, and the batch."""
        return self.parameters + self.optimizer + self.average + self.rest + self.batch

    @property
    def memory(self) -> int:
        """Bytes that a device needs during a step."""
        return self.arguments + self.temporaries

    @property
    def sent_total(self) -> int:
        """Bytes that a device sends in a step."""
        return self.sent.total()


def estimate(
    config: ConfigDict,
    task: Task,
    batch: ArrayTree,
    devices: int,
    *,
    fsdp: int,
    most: int = MOST_DEVICES,
) -> Estimate:
    """Estimates one step.

    Args:
      config: The configuration.
      task: Its task.
      batch: The batch of all devices, or its shapes.
      devices: How many there are to be.
      fsdp: Devices that share the parameters, -1 for all.
      most: Beyond so many the program is the one for so many with as many rows each, and only what
        lies on a device between steps is computed for `devices`.

    Raises:
      UserError: `devices` cannot divide the batch, or `fsdp` not the devices.
    """
    rows = jax.tree.leaves(batch)[0].shape[0]
    mesh = mesh_for(config, rows, devices, fsdp)
    state = assemble(config, task, mesh).state
    used = min(devices, most)
    there = meshes.create_mesh(min(fsdp, used), jax.devices()[:used])
    made = assemble(config, task, there)
    place = meshes.split_batch(there)
    part = with_rows(batch, rows // devices * used)
    part = jax.tree.map(lambda x: x.update(sharding=place), part)
    program = made.step.lower(made.state, part).compile()
    memory = program.memory_analysis()
    shared = _local(state.params)
    sent = _sent(program.as_text(), made.state.params, there)
    if devices > used:  # a ring's share
        grown = (devices - 1) / devices * used / (used - 1)
        sent = Counter({kind: round(count * grown) for kind, count in sent.items()})
    return Estimate(
        devices=devices,
        strategy=SHARED if mesh.shape[meshes.FSDP] > 1 else DATA_PARALLEL,
        compiled_for=used,
        rows=rows // devices,
        parameters=shared,
        optimizer=_local(state.opt_state),
        average=_local(state.ema),
        rest=_local((state.step, state.key, state.model_state)),
        batch=_size(batch) // devices,
        gradients=shared,
        temporaries=(
            memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
        ),
        # XLA counts the body of a loop once.
        flops=program.cost_analysis()["flops"] * config.train.grad_accum_steps,
        sent=sent,
    )


def mesh_for(config: ConfigDict, rows: int, devices: int, fsdp: int) -> AbstractMesh:
    """Returns so many devices that need not be there; raises UserError where they do not fit."""
    shape = meshes.mesh_shape(devices, fsdp)
    mesh = AbstractMesh(shape, (meshes.DATA, meshes.FSDP), axis_types=meshes.AXIS_TYPES)
    part = rows // config.train.grad_accum_steps
    meshes.check_divisible(mesh, **{"the batch / train.grad_accum_steps": part})
    return mesh


def _sent(program: str, params: ArrayTree, mesh: Mesh) -> Counter[str]:
    """Returns the bytes that a device sends, with gradients scattered that CPU's compiler is not.

    It sums whole gradients and cuts out a device's part, where those for GPU and TPU scatter sums.
    """
    sent = bytes_sent(program, mesh.size)
    if mesh.shape[meshes.FSDP] == mesh.size:
        divided = [x for x in jax.tree.leaves(params) if not x.sharding.is_fully_replicated]
        part = round((mesh.size - 1) / mesh.size * _size(divided))
        if 2 * part <= sent["all-reduce"]:
            sent["all-reduce"] -= 2 * part
            sent["reduce-scatter"] += part
    return sent


def with_rows(batch: ArrayTree, rows: int) -> ArrayTree:
    """Returns the shapes of a batch with so many rows."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype), batch)


def _size(tree: ArrayTree) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _local(tree: ArrayTree) -> int:
    """Returns the bytes that each device has."""
    return sum(
        _size(x.update(shape=x.sharding.shard_shape(x.shape))) for x in jax.tree.leaves(tree)
    )
