"""A task whose real training step compiles at once."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from netzoo.config import default_config
from netzoo.layers import BatchNorm
from netzoo.training.average import create_average
from netzoo.training.optimizer import create_optimizer
from netzoo.training.schedule import create_schedule, reduce_on_plateau
from netzoo.training.state import TrainState
from netzoo.training.step import make_train_step


class ToyTask:
    """Two classes of random vectors, a network with BatchNorm and dropout: compiles at once."""

    steps_per_epoch = 5
    constants = ()

    def __init__(self, dropout_rate: float = 0.5):
        self._net = _ToyNetwork(dropout_rate)

    def with_constants(self, constants):
        return self

    def init(self, key):
        return self._net.init(key, jnp.zeros((1, 6)), train=False)

    def loss(self, variables, batch, key):
        logits, state = self._net.apply(
            variables, batch["x"], train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
        return loss, state, {"loss": loss}


class _ToyNetwork(nn.Module):
    """Has no bias before BatchNorm: its gradient would be rounding errors, which Adam amplifies."""

    dropout_rate: float

    @nn.compact
    def __call__(self, x, *, train):
        dense = nn.Dense(16, use_bias=False, name="dense")
        x = nn.relu(BatchNorm(name="norm")(dense(x), train=train))
        return nn.Dense(2, name="logits")(nn.Dropout(self.dropout_rate, deterministic=not train)(x))


def state_and_step(task, config):
    """Return the state before the first step and the step function."""
    variables = jax.jit(task.init)(jax.random.key(0))
    learning_rate = create_schedule(config, task.steps_per_epoch)
    optimizer = create_optimizer(config, learning_rate, variables["params"])
    optimizer = reduce_on_plateau(config, optimizer, task.steps_per_epoch)
    average, skip = (
        create_average(config, task.steps_per_epoch),
        config.train.on_nonfinite == "skip",
    )
    state = TrainState.create(variables, optimizer, jax.random.key(1), ema=bool(average), skip=skip)
    step = make_train_step(
        task,
        optimizer,
        learning_rate,
        grad_accum_steps=config.train.grad_accum_steps,
        sam_rho=config.optimizer.sam_rho,
        average=average,
    )
    return state, step


def toy(dropout_rate: float = 0.5, **options):
    """Return configuration, state, step function and batch of the toy task."""
    config = default_config()
    config.train.ema_decay = 0.9
    config.optimizer.weight_decay = 0.01
    config.update_from_flattened_dict(options)
    rng = np.random.default_rng(0)
    batch = {
        "x": jnp.asarray(rng.normal(size=(8, 6)), jnp.float32),
        "label": jnp.asarray(rng.integers(0, 2, 8), jnp.int32),
    }
    return config, *state_and_step(ToyTask(dropout_rate), config), batch
