"""The training step of any task, and its compiled program."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from chex import ArrayTree
from jax.sharding import AbstractMesh, Mesh
from ml_collections import ConfigDict

from netzoo import kernels
from netzoo import mesh as meshes
from netzoo.kernels import compiler_options, options_for_one_run
from netzoo.models.remat import rematerialized_blocks
from netzoo.tasks.task import Task
from netzoo.training import layer_order, patterns, sharding
from netzoo.training.average import Average, create_average
from netzoo.training.batch_stats import check_batch_norm
from netzoo.training.freezing import first_updates, freezers
from netzoo.training.optimizer import create_optimizer
from netzoo.training.schedule import create_schedule, plateau_scale, reduce_on_plateau
from netzoo.training.state import Skipping, TrainState

Metrics = dict[str, jax.Array]
TrainStep = Callable[[TrainState, ArrayTree], tuple[TrainState, Metrics]]
Prepare = Callable[[ArrayTree], ArrayTree]  # changes the parameters before the loss

# If these metrics of a step are finite, its new state is finite. Only networks with running
# statistics have the last one.
MUST_BE_FINITE = ("loss", "grad_norm", "update_norm", "largest_statistic")


class TrainProgram(NamedTuple):
    """The compiled parts of a run.

    Attributes:
      init: Creates the state before the first step from pretrained variables or None.
      state: Shapes, dtypes and shardings of the state.
      step: `(state, batch, constants=()) -> (state, metrics)`; it donates the given state. The
        last argument has the constants of the task.
      tables: Printable description of the tables of parameters in the configuration.
    """

    init: Callable[[ArrayTree | None], TrainState]
    state: TrainState
    step: jax.stages.Wrapped
    tables: str

    def step_of(self, task: Task, mesh: Mesh) -> TrainStep:
        """Return `step` with the constants of the task, which every device then holds."""
        if not task.constants:
            return self.step
        placed = jax.device_put(task.constants, meshes.replicated(mesh))
        return functools.partial(self.step, constants=placed)


def run_keys(seed: int | np.uint32 | jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the random keys of the initial variables and of the steps; see `TrainState.key`."""
    init_key, run_key = jax.random.split(jax.random.key(seed))
    return init_key, run_key


def in_parts(batch: ArrayTree, key: jax.Array, parts: int) -> tuple[ArrayTree, jax.Array]:
    """Return the parts of a batch for gradient accumulation, stacked, and the keys of their losses.

    `key` is that of the step.
    """
    # Every parts-th example, so that a sharded batch stays on its devices.
    split = jax.tree.map(lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), batch)
    return split, key[None] if parts == 1 else jax.random.split(key, parts)


def build_train_program(
    config: ConfigDict,
    task: Task,
    mesh: Mesh | AbstractMesh,
    pretrained: ArrayTree | None = None,
    learning_rate: optax.Schedule | None = None,
) -> TrainProgram:
    """Build the training state and step of a configuration without compiling.

    With an abstract mesh, it returns only shapes and shardings. `pretrained` are initial variables,
    their shapes, or None for random ones. `learning_rate` replaces `create_schedule`.

    Raises:
      UserError: A table does not fit the parameters, or the network lacks blocks or BatchNorm.
    """
    on_backend = kernels.use_backend(kernels.backend(mesh))
    seed = np.uint32(config.seed)  # an argument, so that all seeds load the same program
    initialize, params = on_backend(_traced_init)(config, task, seed)
    learning_rate = learning_rate or create_schedule(config, task.steps_per_epoch)
    optimizer = create_optimizer(config, learning_rate, params, task.steps_per_epoch)
    optimizer = reduce_on_plateau(config, optimizer, task.steps_per_epoch)
    average = create_average(config, task.steps_per_epoch)

    @jax.jit
    def create(seed, pretrained):
        init_key, run_key = run_keys(seed)
        variables = initialize(init_key) if pretrained is None else pretrained
        keeps, skip = average is not None, config.train.on_nonfinite == "skip"
        return TrainState.create(variables, optimizer, run_key, ema=keeps, skip=skip)

    placed = sharding.parameter_shardings(config, params, mesh)
    shapes = on_backend(create.eval_shape)(seed, pretrained)
    check_batch_norm(config, task, shapes.model_state)
    state_placed = sharding.state_shardings(shapes, params, placed, mesh)
    phases = freezers(first_updates(config, params, task.steps_per_epoch))
    all_gather = sharding.make_all_gather(placed)

    def step(state, batch, constants=()):
        return make_train_step(
            task.with_constants(constants),
            optimizer,
            learning_rate,
            grad_accum_steps=config.train.grad_accum_steps,
            sam_rho=config.optimizer.sam_rho,
            average=average,
            phases={n: _both(all_gather, freeze) for n, freeze in phases.items()},
        )(state, batch)

    options = {"out_shardings": state_placed, "compiler_options": options_for_one_run(mesh)}
    return TrainProgram(
        init=functools.partial(jax.jit(on_backend(create), **options), seed),
        state=jax.tree.map(lambda x, place: x.update(sharding=place), shapes, state_placed),
        step=jax.jit(
            on_backend(kernels.use_precision(config.matmul_precision)(step)),
            donate_argnums=0,
            out_shardings=(state_placed, meshes.replicated(mesh)),
            compiler_options=compiler_options(mesh),
        ),
        tables=_tables(config, params, placed),
    )


def _traced_init(
    config: ConfigDict, task: Task, seed: np.uint32
) -> tuple[Callable[[jax.Array], ArrayTree], ArrayTree]:
    """Return `task.init`, whose trace JAX keeps for the program, and the shapes of the parameters.

    Raises:
      UserError: The network lacks blocks to rematerialise.
    """
    initialize = jax.jit(task.init)
    key, _ = jax.eval_shape(run_keys, seed)
    with rematerialized_blocks(config.train.remat):
        return initialize, initialize.eval_shape(key)["params"]


def _tables(config: ConfigDict, params: ArrayTree, placed: ArrayTree) -> str:
    options = config.optimizer
    shown = {"lr_mults": "lr mults", "weight_decay_mults": "weight decay mults"}
    if any(epoch for _, epoch in options.unfreeze):
        shown["unfreeze"] = "unfreeze at epoch"
    tables = [patterns.describe(options[name], params, title) for name, title in shown.items()]
    if options.layer_decay < 1:
        tables.append(layer_order.describe(options.layer_decay, params))
    if config.sharding.describe:
        tables.append(sharding.describe(params, placed))
    return "\n".join(tables)


def _both(first: Prepare, second: Prepare) -> Prepare:
    return lambda params: second(first(params))


def make_train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    learning_rate: optax.Schedule,
    *,
    grad_accum_steps: int = 1,
    sam_rho: float = 0.0,
    average: Average | None = None,
    phases: Mapping[int, Prepare] | None = None,
) -> TrainStep:
    """Return the function `(state, batch) -> (state, metrics)` to compile.

    The metrics are those of the task, `grad_norm` (before clipping), `update_norm`,
    `learning_rate` and, with BatchNorm, `largest_statistic`: the largest magnitude of a running
    statistic. If one of `MUST_BE_FINITE` is not finite, a state with `Skipping` does not change,
    except for the step and the counts of skipped steps. The metrics `skipped` and
    `skipped_in_a_row` report the counts.

    `learning_rate` is only reported; the optimizer has its own. The gradients of `grad_accum_steps`
    parts of a batch are averaged, and BatchNorm normalises each part. If `sam_rho` is above 0, the
    gradient is that of sharpness-aware minimisation (SAM), at the weights `sam_rho` uphill; the
    metrics and running statistics are those of the weights themselves. `average` says how the
    weights are averaged, and where the loss, the gradient and the weight decay are taken. `phases`
    maps the first update of each phase, in order and from 0, to the function that gathers sharded
    parameters and stops the gradients of frozen ones before the loss.
    """
    phases = phases or {0: lambda params: params}
    optimizer = optax.with_extra_args_support(optimizer)

    def train_step(state: TrainState, batch: ArrayTree) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        rest = batch, key, grad_accum_steps, phases
        at = state.replace(params=average.gradient_point(state)) if average else state
        grads, model_state, metrics = _gradients(task, at, *rest)
        if sam_rho > 0:
            grads, _, _ = _gradients(task, _uphill(at, grads, sam_rho), *rest)
        skipping = isinstance(state.opt_state, Skipping)
        opt_state = state.opt_state.inner if skipping else state.opt_state
        updates, opt_state = optimizer.update(grads, opt_state, at.params, value=metrics["loss"])
        params = optax.apply_updates(state.params, updates)
        metrics |= _sizes(grads, updates, model_state)
        metrics["learning_rate"] = learning_rate(state.updates)
        if (scale := plateau_scale(opt_state)) is not None:
            metrics["learning_rate"] *= scale
        new_state = state.replace(
            step=state.step + 1,
            params=params,
            model_state=model_state,
            opt_state=opt_state,
        )
        if skipping:
            new_state = _unless_nonfinite(metrics, new_state, state)
            counts = new_state.opt_state
            metrics |= {"skipped": counts.total, "skipped_in_a_row": counts.in_a_row}
        if average:
            new_state = new_state.replace(ema=average.update(state, new_state))
        return new_state, metrics

    return train_step


def _sizes(grads: ArrayTree, updates: ArrayTree, model_state: ArrayTree) -> Metrics:
    sizes = {"grad_norm": optax.tree.norm(grads), "update_norm": optax.tree.norm(updates)}
    if statistics := jax.tree.leaves(model_state):
        largest = jnp.stack([jnp.abs(x).max() for x in statistics]).max()
        sizes["largest_statistic"] = largest.astype(jnp.float32)
    return sizes


def _uphill(state: TrainState, grads: ArrayTree, distance: float) -> TrainState:
    """Move the parameters by `distance` along the gradient (Foret et al., arXiv:2010.01412, eq. 2).

    Frozen parameters, whose gradient is 0, stay.
    """
    scale = distance / (optax.tree.norm(grads) + 1e-12)
    return state.replace(params=jax.tree.map(lambda p, g: p + scale * g, state.params, grads))


def _unless_nonfinite(metrics: Metrics, new: TrainState, old: TrainState) -> TrainState:
    """Return the new state, or the old state with this step counted as skipped."""
    finite = jnp.isfinite(
        jnp.stack([x for name, x in metrics.items() if name in MUST_BE_FINITE])
    ).all()
    counts = old.opt_state
    old = old.replace(opt_state=counts.inner)
    kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), new, old)
    bad = jnp.where(finite, 0, 1)
    counts = Skipping(kept.opt_state, counts.total + bad, (counts.in_a_row + bad) * bad)
    return kept.replace(step=new.step, opt_state=counts)


def _gradients(
    task: Task,
    state: TrainState,
    batch: ArrayTree,
    key: jax.Array,
    parts: int,
    phases: Mapping[int, Prepare],
):
    branches = [functools.partial(_gradients_of_phase, p, task, parts) for p in phases.values()]
    if len(branches) == 1:
        return branches[0](state, batch, key)
    begun = jnp.sum(state.updates >= jnp.array([*phases]))
    return jax.lax.switch(begun - 1, branches, state, batch, key)


def _gradients_of_phase(
    prepare: Prepare,
    task: Task,
    parts: int,
    state: TrainState,
    batch: ArrayTree,
    key: jax.Array,
):
    def loss(params, model_state, batch, key):
        variables = {"params": prepare(params), **model_state}
        value, model_state, metrics = task.loss(variables, batch, key)
        return value, (model_state, metrics)

    gradient = jax.grad(loss, has_aux=True)
    if parts == 1:
        grads, (model_state, metrics) = gradient(state.params, state.model_state, batch, key)
        return grads, model_state, metrics

    def add_part(carry, part):
        total, model_state = carry
        batch, key = part
        grads, (model_state, metrics) = gradient(state.params, model_state, batch, key)
        return (jax.tree.map(jnp.add, total, grads), model_state), metrics

    zeros = jax.tree.map(jnp.zeros_like, state.params)
    (total, model_state), metrics = jax.lax.scan(
        add_part, (zeros, state.model_state), in_parts(batch, key, parts)
    )
    grads = jax.tree.map(lambda g: g / parts, total)
    return grads, model_state, jax.tree.map(jnp.mean, metrics)
