"""Shardings of the training state.

Batches are sharded over all devices. Parameters are replicated unless `sharding.fsdp` is above 1.
Then each device keeps its shard of the parameters, of the optimizer state and of the moving average
(Rajbhandari et al., "ZeRO", arXiv:1910.02054, stage 3). The step gathers the parameters before use,
and shards their gradients.
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
    """Return the sharding of every parameter over the axis `fsdp` of the mesh.

    `sharding.parameters` maps each parameter to the axis to shard (negative axes count from the
    end), None for no axis, or "largest": the largest divisible axis, if any, of a parameter with at
    least `sharding.min_size` elements. `params` may be shapes.

    Raises:
      UserError: The table does not fit `params`, or an axis cannot be divided.
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
            f"sharding.parameters maps {name} ({_dimensions(shape)}) to axis {axis!r}; expected an "
            f"axis from {-len(shape)} to {len(shape) - 1} whose size is a multiple of {parts} "
            f"(sharding.fsdp), None or {LARGEST!r}"
        )


def state_shardings(
    state: ArrayTree, params: ArrayTree, shardings: ArrayTree, mesh: Mesh | AbstractMesh
) -> ArrayTree:
    """Return the sharding of every array of a training state from those of its parameters.

    An array with a parameter's shape, under a path that ends with the parameter's path, has the
    parameter's sharding; optimizers and averages keep such arrays. All other arrays are replicated.
    """
    places = {name: (leaf.shape, place) for name, leaf, place in _by_name(params, shardings)}

    def sharding(path, leaf):
        names = patterns.path_name(path).split("/")
        for first in range(len(names)):  # longest suffix first
            shape, place = places.get("/".join(names[first:]), (None, None))
            if shape == leaf.shape:
                return place
        return replicated(mesh)

    return jax.tree_util.tree_map_with_path(sharding, state)


def make_all_gather(shardings: ArrayTree) -> Callable[[ArrayTree], ArrayTree]:
    """Return a function that gathers sharded parameters inside a compiled step.

    It shards the gradients again. Otherwise XLA might shard the activations like the parameters,
    and communicate the activations, which are many times larger.
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
    """Return a title and a line per parameter: shape, sharding, bytes on each device."""
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
