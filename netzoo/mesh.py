"""The devices as one mesh, and how arrays lie on it."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from netzoo.errors import UserError

Tree = Any


def create_mesh() -> Mesh:
    """Returns all devices along the axis `data`."""
    # Auto axis types: Linen modules do not annotate their intermediate values.
    return Mesh(np.asarray(jax.devices()), ("data",), axis_types=(jax.sharding.AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device has the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """The first axis is divided over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def batch_placer(mesh: Mesh) -> Callable[[Tree], Tree]:
    """Returns the function that makes global arrays of this process's part of a batch."""
    sharding = split_batch(mesh)
    return lambda batch: jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, x), batch
    )


def check_divisible(mesh: Mesh, **batch_sizes: int) -> None:
    """Checks that batches can be divided over the devices.

    Raises:
      UserError: One cannot; the message gives sizes that can.
    """
    devices = mesh.devices.size
    for key, size in batch_sizes.items():
        if size % devices:
            lower, upper = size // devices * devices, -(-size // devices) * devices
            near = f"{lower} or {upper}" if lower else str(upper)
            raise UserError(
                f"{key} is {size}, which {devices} devices cannot divide evenly; use {near}"
            )
