"""Prints the collectives of small programs for eight virtual devices; see test_collectives.py.

JAX_NUM_CPU_DEVICES=8 python -m tests.training.collectives

JAX creates the devices when it starts, so this needs a separate process.
"""

import json
import re

import jax
import jax.numpy as jnp

from netzoo import kernels
from netzoo import mesh as meshes
from netzoo.config import default_config
from netzoo.layers import batch_norm_groups
from netzoo.training.step import build_train_program
from tests.training.toy import ToyTask

ROWS = 32
_COLLECTIVE = re.compile(
    r" = (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)


def collectives(compiled) -> list[tuple[str, int]]:
    """Return the kind of each collective of a program and the number of elements that it sends."""
    found = []
    for types, kind in _COLLECTIVE.findall(compiled.as_text()):
        shapes = re.findall(r"\w+\[([\d,]*)\]", types)
        found.append((kind, sum(elements(shape) for shape in shapes)))
    return found


def elements(shape: str) -> int:
    """Return the number of elements of a shape such as "3,4"; "" is a scalar."""
    total = 1
    for size in filter(None, shape.split(",")):
        total *= int(size)
    return total


def batch(mesh):
    """Return the shapes of a sharded batch."""
    place = meshes.split_batch(mesh)
    shapes = {"x": ((ROWS, 6), jnp.float32), "label": ((ROWS,), jnp.int32)}
    return {name: jax.ShapeDtypeStruct(*shape, sharding=place) for name, shape in shapes.items()}


def step(fsdp: int, groups: int):
    """Return the collectives of a training step."""
    config = default_config()
    config.sharding.min_size = 8
    mesh = meshes.create_mesh(fsdp)
    with batch_norm_groups(groups), kernels.use_backend("native"):
        program = build_train_program(config, ToyTask(), mesh)
        return collectives(program.step.lower(program.state, batch(mesh)).compile())


def input_gradient(groups: int):
    """Return the collectives of the gradient with respect to the images: no sum over examples."""
    task, mesh = ToyTask(), meshes.create_mesh()
    place = meshes.replicated(mesh)
    variables = jax.eval_shape(task.init, jax.random.key(0))
    variables = jax.tree.map(lambda x: x.update(sharding=place), variables)

    def gradient(variables, batch, key):
        def loss(x):
            return task.loss(variables, {**batch, "x": x}, key)[0]

        return jax.grad(loss)(batch["x"])

    compiled = jax.jit(gradient, out_shardings=meshes.split_batch(mesh))
    with batch_norm_groups(groups), kernels.use_backend("native"):
        return collectives(compiled.lower(variables, batch(mesh), jax.random.key(0)).compile())


if __name__ == "__main__":
    found = {
        f"step {fsdp} {groups}": step(fsdp, groups) for fsdp, groups in ((1, 1), (1, 8), (8, 1))
    }
    found |= {f"input gradient {groups}": input_gradient(groups) for groups in (1, 2, 8, 16)}
    print(json.dumps(found))
