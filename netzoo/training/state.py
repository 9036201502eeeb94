"""What changes during training, as one tree."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

Tree = Any


@flax.struct.dataclass
class TrainState:
    """Everything that the next step depends on, besides the next batch.

    Attributes:
      step: Steps taken, int32 scalar.
      params: Parameters, float32.
      model_state: Other collections of the network, e.g. `{"batch_stats": ...}`.
      opt_state: State of the optimizer.
      ema: Exponential moving average of `{"params": ..., **model_state}`, or None. The statistics
        are averaged with the parameters, since those of the last step belong to other weights.
      key: Random key of the run, as raw `uint32` data; step `n` uses it folded with `n`.
    """

    step: jax.Array
    params: Tree
    model_state: Tree
    opt_state: Tree
    ema: Tree | None
    key: jax.Array

    @classmethod
    def create(
        cls,
        variables: Tree,
        optimizer: optax.GradientTransformation,
        key: jax.Array,
        *,
        ema: bool,
    ) -> "TrainState":
        """Returns the state before the first step; `key` is a typed key."""
        params = variables["params"]
        model_state = {name: tree for name, tree in variables.items() if name != "params"}
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=params,
            model_state=model_state,
            opt_state=optimizer.init(params),
            ema=jax.tree.map(jnp.copy, dict(variables)) if ema else None,
            key=jax.random.key_data(key),
        )

    @property
    def variables(self) -> Tree:
        """The variables that `apply` takes, as trained."""
        return {"params": self.params, **self.model_state}

    @property
    def evaluation_variables(self) -> Tree:
        """The variables to evaluate: the average where there is one."""
        return self.variables if self.ema is None else self.ema
