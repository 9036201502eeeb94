"""Decides which device keeps which part of the training state.

Batches are sharded over all devices. Parameters are replicated, unless `sharding.fsdp` devices
share them: then each device keeps its part of a parameter, of the optimizer's state and of the
moving average (Rajbhandari et al., "ZeRO", arXiv:1910.02054, stage 2). The step gathers the
parameters before it uses them, and shards their gradients.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from chex import ArrayTree
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from netzoo.errors import UserError
from netzoo.mesh import FSDP, replicated
from netzoo.training import patterns

LARGEST = "largest"


def parameter_shardings(
    config: ConfigDict, params: ArrayTree, mesh: Mesh | AbstractMesh
) -> ArrayTree:
    """Returns the sharding of every parameter, which the axis `fsdp` of the mesh divides.

    `sharding.parameters` gives each parameter the axis that is divided, counted from the end if
    negative, None for none, or "largest": the largest that can be divided, if any, of a parameter
    with at least `sharding.min_size` numbers. `params` may be shapes.

    Raises:
      UserError: The table does not fit `params`, or an axis that it names cannot be divided.
    """
    table = config.sharding.parameters
    choices = patterns.match(table, params, "sharding.parameters")
    parts = mesh.shape[FSDP]

    def sharding(path, leaf, axis):
        if axis == LARGEST:
            large = leaf.size >= config.sharding.min_size
            divisible = [i for i, size in enumerate(leaf.shape) if large and size % parts == 0]
            axis = max(divisible, key=lambda i: leaf.shape[i], default=None)
        if axis is None or parts == 1:
            return replicated(mesh)
        _check_axis(patterns.path_name(path), leaf.shape, axis, parts)
        axis %= leaf.ndim
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, FSDP))

    return jax.tree_util.tree_map_with_path(sharding, params, choices)


def _check_axis(name: str, shape: tuple[int, ...], axis: Any, parts: int) -> None:
    valid = isinstance(axis, int) and -len(shape) <= axis < len(shape)
    if not valid or shape[axis] % parts:
        raise UserError(
            f"sharding.parameters gives {name}, {_dimensions(shape)}, the axis {axis!r}; expected "
            f"{-len(shape)} to {len(shape) - 1}, a size that the {parts} devices of sharding.fsdp "
            f"divide evenly; or None or {LARGEST!r}"
        )


def state_shardings(
    state: ArrayTree, params: ArrayTree, shardings: ArrayTree, mesh: Mesh | AbstractMesh
) -> ArrayTree:
    """Returns the sharding of every array of a training state, given those of its parameters.

    What an optimizer or an average keeps for a parameter has the parameter's shape, under a path
    that ends with the parameter's, and is divided like it. All else is whole on every device.
    """
    places = {name: (leaf.shape, place) for name, leaf, place in _by_name(params, shardings)}

    def sharding(path, leaf):
        names = patterns.path_name(path).split("/")
        for first in range(len(names)):  # the longest ending first
            shape, place = places.get("/".join(names[first:]), (None, None))
            if shape == leaf.shape:
                return place
        return replicated(mesh)

    return jax.tree_util.tree_map_with_path(sharding, state)


def make_all_gather(shardings: ArrayTree) -> Callable[[ArrayTree], ArrayTree]:
    """Returns the function that puts sharded parameters together inside a compiled step.

    The gradients are sharded again. Left to itself, XLA may divide the activations as the
    parameters are, and then moves those instead, which are many times larger.
    """

    def constrain(tree, to):
        def constrained(x, sharding):
            if sharding.is_fully_replicated:
                return x
            return jax.lax.with_sharding_constraint(x, to(sharding))

        return jax.tree.map(constrained, tree, shardings)

    @jax.custom_vjp
    def all_gather(params):
        return constrain(params, lambda sharding: replicated(sharding.mesh))

    all_gather.defvjp(
        lambda params: (all_gather(params), None),
        lambda _, grads: (constrain(grads, lambda sharding: sharding),),
    )
    return all_gather


def describe(params: ArrayTree, shardings: ArrayTree) -> str:
    """Returns a title and one line a parameter: shape, how it is divided, bytes on each device."""
    rows, total = [], 0
    for name, leaf, sharding in _by_name(params, shardings):
        size = math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        axes = [axis for axis, name in enumerate(sharding.spec) if name]
        where = f"axis {axes[0]} over {sharding.mesh.shape[FSDP]}" if axes else "whole"
        rows.append((name, _dimensions(leaf.shape), where, f"{size:,}"))
        total += size
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"  {name:<{widths[0]}}  {shape:<{widths[1]}}  {where:<{widths[2]}}  {size:>{widths[3]}}"
        for name, shape, where, size in rows
    ]
    return "\n".join(["parameters on the devices:", *lines, f"  bytes a device: {total:,}"])


def _by_name(params: ArrayTree, shardings: ArrayTree) -> Iterator[tuple[str, Any, NamedSharding]]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    for (path, leaf), sharding in zip(leaves, jax.tree.leaves(shardings), strict=True):
        yield patterns.path_name(path), leaf, sharding


def _dimensions(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
