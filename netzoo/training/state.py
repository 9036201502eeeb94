"""What changes during training, as one tree."""

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax
from chex import ArrayTree


class Skipping(NamedTuple):
    """The optimizer's state in a run that skips steps whose numbers are not finite."""

    inner: ArrayTree
    total: jax.Array  # steps skipped, int32 scalar
    in_a_row: jax.Array  # those since the last step that was not skipped, int32 scalar


class TrainState(flax.struct.PyTreeNode):
    """Everything that the next step depends on, besides the next batch.

    Attributes:
      step: Steps taken, int32 scalar.
      params: Parameters, float32.
      model_state: Other collections of the network, e.g. `{"batch_stats": ...}`.
      opt_state: State of the optimizer, in a `Skipping` where the run skips steps.
      ema: Exponential moving average of `{"params": ..., **model_state}`, or None. The statistics
        are averaged with the parameters, since those of the last step belong to other weights.
      key: Random key of the run, as raw `uint32` data; step `n` uses it folded with `n`.
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
        """Returns the state before the first step; `key` is a typed key."""
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
        """Steps taken that changed the parameters, int32 scalar."""
        skipping = isinstance(self.opt_state, Skipping)
        return self.step - self.opt_state.total if skipping else self.step

    @property
    def variables(self) -> ArrayTree:
        """The variables that `apply` takes, as trained."""
        return {"params": self.params, **self.model_state}

    @property
    def evaluation_variables(self) -> ArrayTree:
        """The variables to evaluate: the average where there is one."""
        return self.variables if self.ema is None else self.ema
