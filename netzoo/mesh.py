"""The devices of all processes as one mesh, and shardings on it.

The mesh has two axes, `data` and `fsdp`. Batches are sharded over both. Parameters are sharded over
`fsdp` only, if at all (`netzoo/training/sharding.py`).
"""

import os
from collections.abc import Callable, Sequence

import jax
import numpy as np
from chex import ArrayTree
from jax.experimental import multihost_utils
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from netzoo.errors import UserError

DATA, FSDP = "data", "fsdp"
# Automatic axes, because Linen modules do not annotate intermediate values.
AXIS_TYPES = (jax.sharding.AxisType.Auto,) * 2


def check_devices() -> None:
    """Raise a UserError unless JAX can use the devices of this machine."""
    try:
        jax.devices()
    except Exception as error:
        # Plugins raise many types. Without a plugin for the platform, the error has no message.
        wanted = os.environ.get("JAX_PLATFORMS")
        only = f" for JAX_PLATFORMS={wanted}" if wanted else ""
        reason = f": {error}" if str(error) else ""
        raise UserError(
            f"JAX finds no devices{only}{reason}. Install the JAX package of these devices, or use "
            "others: JAX_PLATFORMS=cpu"
        ) from None


def create_mesh(fsdp: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Arrange devices, by default those of all processes, as `[data, fsdp]`; see `mesh_shape`."""
    # Sort by process, because each process has consecutive rows of a batch. Neighbours share
    # parameters, which minimises the communication between processes.
    devices = sorted(devices or jax.devices(), key=lambda device: (device.process_index, device.id))
    grid = np.asarray(devices).reshape(mesh_shape(len(devices), fsdp))
    return Mesh(grid, (DATA, FSDP), axis_types=AXIS_TYPES)


def mesh_shape(devices: int, fsdp: int) -> tuple[int, int]:
    """Return the number of devices along `data` and along `fsdp`.

    Parameters are sharded over `fsdp` devices, or all devices for -1; `data` gets the rest.

    Raises:
      UserError: `fsdp` does not divide the number of devices.
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
    """Return the sharding that gives every device the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """Return the sharding that divides the first axis over all devices."""
    return NamedSharding(mesh, PartitionSpec((DATA, FSDP)))


def batch_placer(mesh: Mesh) -> Callable[[ArrayTree], ArrayTree]:
    """Return a function that builds global arrays from this process's part of a batch."""
    sharding = split_batch(mesh)
    return lambda batch: jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, x), batch
    )


def check_divisible(mesh: Mesh | AbstractMesh, **batch_sizes: int) -> None:
    """Raise a UserError with valid sizes if the devices cannot divide a batch evenly."""
    devices = mesh.size
    for key, size in batch_sizes.items():
        if size % devices:
            lower = size // devices * devices
            near = f"{lower} or {lower + devices}" if lower else str(devices)
            raise UserError(
                f"{key} is {size}, which {devices} devices cannot divide evenly; use {near}"
            )


def process_shard() -> tuple[int, int]:
    """Return the index of this process and the number of processes."""
    return jax.process_index(), jax.process_count()


def is_writer() -> bool:
    """Return whether this process writes the logs and figures of the run."""
    return jax.process_index() == 0


def largest(value: int) -> int:
    """Return the maximum over all processes, all of which must call this function."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.process_allgather(np.int32(value)).max())
