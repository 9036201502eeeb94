"""What a configuration, a task and a mesh make together: the training state and the step."""

import contextlib
from collections.abc import Callable
from typing import NamedTuple

import jax
from chex import ArrayTree
from jax.sharding import AbstractMesh, Mesh
from ml_collections import ConfigDict

from netzoo import kernels
from netzoo import mesh as meshes
from netzoo.kernels.compiler_options import compiler_options
from netzoo.models.remat import rematerialized_blocks
from netzoo.tasks.task import Task
from netzoo.training import patterns, sharding
from netzoo.training.optimizer import create_optimizer, create_schedule, lr_mults
from netzoo.training.state import TrainState
from netzoo.training.step import Metrics, make_train_step


class Assembly(NamedTuple):
    """The parts of a run that are compiled.

    Attributes:
      create: Makes the state before the first step of pretrained variables, or of None.
      state: Its shapes and types, and where they lie.
      step: `(state, batch) -> (state, metrics)`; the given state is used up.
      tables: What the tables of the configuration say of each parameter, to be printed.
    """

    create: Callable[[ArrayTree | None], TrainState]
    state: TrainState
    step: Callable[[TrainState, ArrayTree], tuple[TrainState, Metrics]]
    tables: str


def assemble(
    config: ConfigDict, task: Task, mesh: Mesh | AbstractMesh, pretrained: ArrayTree | None = None
) -> Assembly:
    """Prepares the creation of the state and the step; compiles nothing.

    Args:
      config: The configuration.
      task: Gives the network and the loss.
      mesh: The devices. Of an abstract mesh, only shapes and places are of use.
      pretrained: Variables to start from, or their shapes, or None for random ones.

    Raises:
      UserError: A table of the configuration does not fit the network's parameters, or there
        are no blocks for `train.remat`.
    """
    init_key, run_key = jax.random.split(jax.random.key(config.seed))
    # Refuses a network without blocks before anything is compiled.
    with rematerialized_blocks() if config.train.remat else contextlib.nullcontext():
        params = jax.eval_shape(task.init, init_key)["params"]
    learning_rate = create_schedule(config, task.steps_per_epoch)
    optimizer = create_optimizer(config, learning_rate, params)

    def create(key, pretrained):
        variables = task.init(key) if pretrained is None else pretrained
        ema, skip = config.train.ema_decay > 0, config.train.on_nonfinite == "skip"
        return TrainState.create(variables, optimizer, run_key, ema=ema, skip=skip)

    placed = sharding.parameter_shardings(config, params, mesh)
    shapes = jax.eval_shape(create, init_key, pretrained)
    state_placed = sharding.state_shardings(shapes, params, placed, mesh)
    tables = [
        patterns.describe(config.optimizer[table], params, table.replace("_", " "))
        for table in ("lr_mults", "weight_decay_mults")
    ]
    if config.sharding.describe:
        tables.append(sharding.describe(params, placed))
    step = make_train_step(
        task,
        optimizer,
        learning_rate,
        grad_accum_steps=config.train.grad_accum_steps,
        ema_decay=config.train.ema_decay,
        frozen=jax.tree.map(lambda factor: factor == 0, lr_mults(config, params)),
        gather=sharding.gatherer(placed),
    )
    on_backend = kernels.use_backend(kernels.backend(mesh))
    compiled_create = jax.jit(on_backend(create), out_shardings=state_placed)
    return Assembly(
        create=lambda pretrained: compiled_create(init_key, pretrained),
        state=jax.tree.map(lambda x, place: x.update(sharding=place), shapes, state_placed),
        step=jax.jit(
            on_backend(step),
            donate_argnums=0,
            out_shardings=(state_placed, meshes.replicated(mesh)),
            compiler_options=compiler_options(mesh),
        ),
        tables="\n".join(tables),
    )
