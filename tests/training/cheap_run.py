"""Runs of the real loop whose steps and evaluations compute almost nothing."""

import contextlib
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

from netzoo.training import loop
from netzoo.training.state import TrainState
from netzoo.training.step import TrainProgram

AVERAGED = 100  # the only parameter is the step, and its average is the step + AVERAGED


@jax.jit
def count(state, batch):
    """Count the steps in the parameter, instead of training."""
    del batch
    params = {"w": (state.step + 1) * jnp.ones(3)}
    ema = {"params": {"w": params["w"] + AVERAGED}}
    metrics = dict.fromkeys(("loss", "grad_norm", "update_norm", "learning_rate"), jnp.ones(()))
    return state.replace(step=state.step + 1, params=params, ema=ema), metrics


def sums(examples, correct):
    """What an evaluation of image classification sums up."""
    confusion = np.diag([correct, 0, 0])
    confusion[0, 1] = examples - correct
    return {
        "confusion": confusion,
        "topk_correct": examples,
        "loss_sum": float(examples),
        "count": examples,
    }


@contextlib.contextmanager
def cheap_steps(evaluate=lambda *_: sums(3, 2)):
    """Let runs count steps and draw no curves; `evaluate` replaces the loop's."""
    params = {"w": jnp.zeros(3)}
    state = TrainState.create({"params": params}, optax.identity(), jax.random.key(0), ema=True)
    program = TrainProgram(lambda _: state, state, count, "")
    with (
        mock.patch.object(loop, "build_train_program", return_value=program),
        mock.patch.object(loop, "evaluate_rows", lambda *arguments: (evaluate(*arguments), {})),
        mock.patch.object(loop, "training_curves"),
    ):
        yield
