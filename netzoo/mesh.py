"""The devices of all processes as one mesh, and how arrays lie on it.

The mesh has two axes. A batch is sharded over both; parameters, if they are sharded at all, over
`fsdp` alone (`netzoo/training/sharding.py`).
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from chex import ArrayTree
from jax.experimental import multihost_utils
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from netzoo.errors import UserError

DATA, FSDP = "data", "fsdp"
# Linen modules do not annotate their intermediate values.
AXIS_TYPES = (jax.sharding.AxisType.Auto,) * 2


def create_mesh(fsdp: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Returns devices, by default all of all processes, as `[data, fsdp]`; see `mesh_shape`."""
    # Sorted by process, since a process has consecutive rows of a batch. Neighbours share
    # parameters, so that these travel between processes as little as possible.
    devices = sorted(devices or jax.devices(), key=lambda device: (device.process_index, device.id))
    grid = np.asarray(devices).reshape(mesh_shape(len(devices), fsdp))
    return Mesh(grid, (DATA, FSDP), axis_types=AXIS_TYPES)


def mesh_shape(devices: int, fsdp: int) -> tuple[int, int]:
    """Returns how many devices lie along `data` and along `fsdp`.

    `fsdp` devices share the parameters among them, -1 for all; `data` gets the rest.

    Raises:
      UserError: `fsdp` does not divide the devices.
    """
    fsdp = devices if fsdp == -1 else fsdp
    if devices % fsdp:
        divisors = [str(n) for n in range(1, devices + 1) if devices % n == 0]
        raise UserError(
            f"sharding.fsdp is {fsdp}, which does not divide the {devices} devices; use "
            f"{', '.join(divisors)}, or -1 for all"
        )
    return devices // fsdp, fsdp


def replicated(mesh: Mesh | AbstractMesh) -> NamedSharding:
    """Returns the sharding that gives every device the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """Returns the sharding that divides the first axis over all devices."""
    return NamedSharding(mesh, PartitionSpec((DATA, FSDP)))


def batch_placer(mesh: Mesh) -> Callable[[ArrayTree], ArrayTree]:
    """Returns the function that makes global arrays from this process's part of a batch."""
    sharding = split_batch(mesh)
    return lambda batch: jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, x), batch
    )


def check_divisible(mesh: Mesh | AbstractMesh, **batch_sizes: int) -> None:
    """Raises a UserError, which names sizes that fit, if devices cannot divide a batch evenly."""
    devices = mesh.size
    for key, size in batch_sizes.items():
        if size % devices:
            lower = size // devices * devices
            near = f"{lower} or {lower + devices}" if lower else str(devices)
            raise UserError(
                f"{key} is {size}, which {devices} devices cannot divide evenly; use {near}"
            )


def process_shard() -> tuple[int, int]:
    """Returns this process and their number: which part of every batch it reads."""
    return jax.process_index(), jax.process_count()


def is_writer() -> bool:
    """Returns whether this process writes what one process writes for all: logs and figures."""
    return jax.process_index() == 0


def largest(value: int) -> int:
    """Returns the largest of the processes' values; all processes must call this."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.process_allgather(np.int32(value)).max())
