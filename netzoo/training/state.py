"""The training state, as one tree."""

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax
from chex import ArrayTree


class Skipping(NamedTuple):
    """The optimizer state in a run that skips non-finite steps."""

    inner: ArrayTree
    total: jax.Array  # skipped steps, int32 scalar
    in_a_row: jax.Array  # skipped steps since the last step that was not skipped, int32 scalar


class TrainState(flax.struct.PyTreeNode):
    """Everything that the next step depends on, except for the next batch.

    Attributes:
      step: Number of steps, int32 scalar.
      params: Parameters, float32.
      model_state: Other collections of the network, e.g. `{"batch_stats": ...}`.
      opt_state: Optimizer state, in a `Skipping` if the run skips steps.
      ema: Average of `{"params": ..., **model_state}` (`netzoo.training.average`), or None.
      key: Random key of the run, as raw `uint32` data; step `n` folds `n` into it.
    """

    step: jax.Array
    params: ArrayTree
    model_state: ArrayTree
    opt_state: ArrayTree
    ema: ArrayTree | None
    key: jax.Array

    @classmethod
    def create(
        cls,
        variables: ArrayTree,
        optimizer: optax.GradientTransformation,
        key: jax.Array,
        *,
        ema: bool,
        skip: bool = False,
    ) -> "TrainState":
        """Return the state before the first step; `key` is a typed key."""
        params = variables["params"]
        opt_state = optimizer.init(params)
        if skip:
            opt_state = Skipping(opt_state, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))
        model_state = {name: tree for name, tree in variables.items() if name != "params"}
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=params,
            model_state=model_state,
            opt_state=opt_state,
            ema=jax.tree.map(jnp.copy, dict(variables)) if ema else None,
            key=jax.random.key_data(key),
        )

    @property
    def updates(self) -> jax.Array:
        """The number of steps that changed the parameters, int32 scalar."""
        skipping = isinstance(self.opt_state, Skipping)
        return self.step - self.opt_state.total if skipping else self.step

    @property
    def variables(self) -> ArrayTree:
        """The trained variables for `apply`."""
        return {"params": self.params, **self.model_state}

    @property
    def evaluation_variables(self) -> ArrayTree:
        """The variables to evaluate: their average if there is one."""
        return self.variables if self.ema is None else self.ema
