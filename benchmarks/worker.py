"""One contestant of `benchmarks.throughput`, in a process of its own.

Reads a number of steps a line from standard input, runs them, and answers each line with the
seconds they took, as JSON. The first answer, before any question, describes the compiled program.
"""

import contextlib
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import flax_layers
from netzoo.models import common, create_model
from netzoo.workdir.record import environment_record

Tree = Any
# Contestant: module whose `Conv` and `BatchNorm` take the place of netzoo's.
LAYERS = {"netzoo": None, "flax": flax_layers}
NUM_CLASSES = 1000


def with_layers_of(contestant: str, network: type) -> contextlib.AbstractContextManager:
    """Replaces layers where a network takes them from, while it is traced."""
    layers, stack = LAYERS[contestant], contextlib.ExitStack()
    if layers is not None:
        for module in (sys.modules[network.__module__], common):
            for name in ("Conv", "BatchNorm"):
                if hasattr(module, name):
                    stack.enter_context(mock.patch.object(module, name, getattr(layers, name)))
    return stack


def make_program(settings: dict[str, Any]) -> tuple[Callable, Tree, dict[str, Any]]:
    """Compiles a step.

    Returns:
      `step(state) -> (state, loss)`, the first state, and facts: `parameters`, `compile_seconds`.
    """
    model = create_model(settings["model"], NUM_CLASSES, dtype=jnp.dtype(settings["dtype"]))
    batch, side = settings["batch_size"], settings["image_size"]
    rng = np.random.default_rng(0)
    images = jax.device_put(rng.integers(0, 256, (batch, side, side, 3), dtype=np.uint8))
    labels = jax.device_put(rng.integers(0, NUM_CLASSES, batch, dtype=np.int32))

    def init(key: jax.Array) -> Tree:
        return model.init(key, jnp.zeros((1, side, side, 3)), train=False)

    # The initial values are always made by netzoo's layers, so all contestants have the same.
    variables = jax.jit(init)(jax.random.key(0))
    with with_layers_of(settings["contestant"], type(model)):
        if jax.tree.map(jnp.shape, variables) != jax.tree.map(
            jnp.shape, jax.eval_shape(lambda key: init(key), jax.random.key(0))
        ):
            raise SystemExit(f"{settings['contestant']}: the parameter tree is another one")
    optimizer = optax.adamw(1e-3, weight_decay=0.05)

    def loss(params, rest, images, labels, key):
        train = settings["mode"] == "train"
        x = (images.astype(jnp.float32) - 127.5) / 127.5
        logits, rest = model.apply(
            {"params": params, **rest},
            x,
            train=train,
            rngs={"dropout": key} if train else None,
            mutable=list(rest) if train else [],
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return losses.mean(), rest

    def train_step(state, images, labels):
        params, rest, opt_state, key = state
        key, dropout = jax.random.split(key)
        gradient = jax.value_and_grad(loss, has_aux=True)
        (value, rest), grads = gradient(params, rest, images, labels, dropout)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), rest, opt_state, key), value

    def infer_step(state, images, labels):
        params, rest = state
        return state, loss(params, rest, images, labels, None)[0]

    params = variables.pop("params")
    count = sum(x.size for x in jax.tree.leaves(params))
    if settings["mode"] == "train":
        state = (params, variables, optimizer.init(params), jax.random.key(1))
        step = jax.jit(train_step, donate_argnums=0)
    else:
        # Donated, the weights that a step returns are the buffers it was given, not copies.
        state, step = (params, variables), jax.jit(infer_step, donate_argnums=0)
    start = time.perf_counter()
    with with_layers_of(settings["contestant"], type(model)):
        compiled = step.lower(state, images, labels).compile()
    facts = {"parameters": count, "compile_seconds": time.perf_counter() - start}
    return lambda state: compiled(state, images, labels), state, facts


def main(settings: dict[str, Any]) -> None:
    """Compiles, describes itself, and then steps on demand until standard input ends."""
    step, state, facts = make_program(settings)
    losses = []
    for _ in range(2):
        state, loss = step(state)
        losses.append(float(loss))
    answer = {
        "losses": losses,
        **environment_record(["benchmarks.throughput"], facts["parameters"], "random"),
        **facts,
    }
    print(json.dumps(answer), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            state, loss = step(state)
        jax.block_until_ready((state, loss))
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "peak_bytes": peak}), flush=True)
