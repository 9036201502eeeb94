"""A contestant in JAX: a network of netzoo with netzoo's layers or with flax's own.

All contestants in JAX start from the same initial values, so that their losses can be compared.
`netzoo` runs as in netzoo's commands: with compiler options and, for inference, BatchNorm folded
into the convolutions.
`setup` and `plain` run the same program in a user's own `jax.jit`, with and without
`netzoo.setup()`. `bfloat16` runs like `netzoo`, but rounds the factors of products to bfloat16
(`matmul_precision`). `other_jax` runs like `netzoo`, with other releases of its libraries.
"""

import contextlib
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from chex import ArrayTree

from benchmarks import flax_layers
from benchmarks.contestants import peak_jax_bytes, serve, serve_steps
from benchmarks.peers import OPTIONS
from benchmarks.report import machine
from netzoo.errors import UserError
from netzoo.kernels import compiler_options, setup, use_precision
from netzoo.layers import AUXILIARY, mlp
from netzoo.models import blocks, create_model, fold_batch_norm, vit
from netzoo.models.remat import rematerialized_blocks
from netzoo.models.summary import model_summary

NUM_CLASSES = 1000
# Layers of netzoo that `flax_layers` replaces.
REPLACED = {"BatchNorm", "Conv", "Dense", "Dropout", "MultiHeadAttention"}
REPLACED |= {"StandardizedConv", "gelu", "max_pool"}


@contextlib.contextmanager
def with_layers_of(contestant: str, network: type) -> Iterator[None]:
    """Replace the layers in the modules of a network while the network is traced."""
    with contextlib.ExitStack() as stack:
        if contestant == "flax":
            for module in {sys.modules[network.__module__], blocks, vit, mlp}:
                for name in REPLACED & set(vars(module)):
                    theirs = getattr(flax_layers, name)
                    stack.enter_context(mock.patch.object(module, name, theirs))
        yield


def make_program(settings: dict[str, Any]) -> tuple[Callable, ArrayTree, dict[str, Any]]:
    """Compile a step.

    Returns:
      `step(state) -> (state, loss)`, the first state, and facts: `parameters`, `compile_seconds`,
      `exact` (whether losses depend neither on bfloat16 nor on dropout masks) and, for netzoo,
      `macs` (multiply-adds per image without auxiliary classifiers).

    Raises:
      UserError: The network is unknown, refuses the images or has different parameters.
    """
    contestant, train = settings["contestant"], settings["mode"] == "train"
    options = {**OPTIONS.get(settings["model"], {}), "dtype": jnp.dtype(settings["dtype"])}
    model = create_model(settings["model"], NUM_CLASSES, **options)
    network = type(model)
    batch, side = settings["batch_size"], settings["image_size"]
    rng = np.random.default_rng(0)
    images = jax.device_put(rng.integers(0, 256, (batch, side, side, 3), dtype=np.uint8))
    labels = jax.device_put(rng.integers(0, NUM_CLASSES, batch, dtype=np.int32))

    def init(key: jax.Array) -> ArrayTree:
        return model.init(key, jnp.zeros((1, side, side, 3)), train=False)

    # netzoo's layers always create the initial values, so all contestants have the same.
    variables = jax.jit(init)(jax.random.key(0))
    with with_layers_of(contestant, network):
        # A new function, because JAX caches the trace of the first.
        shapes = jax.eval_shape(lambda key: init(key), jax.random.key(0))
    if jax.tree.map(jnp.shape, variables) != jax.tree.map(jnp.shape, shapes):
        raise UserError(f"its {settings['model']} has a different parameter tree")
    rates = (getattr(model, name, 0) for name in ("dropout_rate", "auxiliary_dropout_rate"))
    facts = {
        "parameters": sum(x.size for x in jax.tree.leaves(variables["params"])),
        "exact": settings["dtype"] == "float32" and not (train and any(rates)),
    }
    compiler = {}
    if contestant in ("netzoo", "bfloat16", "other_jax"):
        facts["macs"], compiler = model_summary(model, side).macs, compiler_options()
    if contestant != "flax" and not train:
        model, variables = fold_batch_norm(model, variables)
    loss = make_loss(model, train, settings["remat"])
    step, state = (make_training if train else make_inference)(loss, jax.device_put(variables))
    # The state is donated, so a step writes its new weights over the old ones.
    step = jax.jit(step, donate_argnums=0, compiler_options=compiler)
    start = time.perf_counter()
    precision = "bfloat16" if contestant == "bfloat16" else "default"
    with with_layers_of(contestant, network), use_precision(precision):
        compiled = step.lower(state, images, labels).compile()
    facts["compile_seconds"] = time.perf_counter() - start
    return lambda state: compiled(state, images, labels), state, facts


def make_loss(model: Any, train: bool, remat: bool) -> Callable:
    """Return `loss(params, rest, images, labels, key) -> (loss, new rest)`."""

    def loss(params, rest, images, labels, key):
        x = (images.astype(jnp.float32) - 127.5) / 127.5
        with rematerialized_blocks("blocks" if train and remat else "none"):
            logits, rest = model.apply(
                {"params": params, **rest},
                x,
                train=train,
                rngs={"dropout": key} if train else None,
                mutable=[*rest, AUXILIARY] if train else [],
            )
        auxiliary = rest.pop(AUXILIARY, {})
        weighted = [(1.0, logits), *((model.auxiliary_weight, x) for x in auxiliary.values())]
        entropy = optax.softmax_cross_entropy_with_integer_labels
        return sum(weight * entropy(x, labels).mean() for weight, x in weighted), rest

    return loss


def make_training(loss: Callable, variables: ArrayTree) -> tuple[Callable, ArrayTree]:
    """Return a step with AdamW, `(state, images, labels) -> (state, loss)`, and a state."""
    optimizer = optax.adamw(1e-3, weight_decay=0.05)

    def step(state, images, labels):
        params, rest, opt_state, key = state
        key, dropout = jax.random.split(key)
        gradient = jax.value_and_grad(loss, has_aux=True)
        (value, rest), grads = gradient(params, rest, images, labels, dropout)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), rest, opt_state, key), value

    rest = dict(variables)
    params = rest.pop("params")
    state = (params, rest, optimizer.init(params), jax.random.key(1))
    return step, state


def make_inference(loss: Callable, variables: ArrayTree) -> tuple[Callable, ArrayTree]:
    """Return the forward pass with the loss, and a state, as `make_training` does."""

    def step(state, images, labels):
        rest = dict(state)
        return state, loss(rest.pop("params"), rest, images, labels, None)[0]

    return step, variables


def matmul_peak(dtype: str) -> float:
    """Return the peak floating-point operations per second of a product of square matrices."""
    side = 2048 if jax.default_backend() == "cpu" else 8192
    x = jnp.ones((side, side), jnp.dtype(dtype))
    product = jax.jit(jnp.matmul).lower(x, x).compile()
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        product(x, x).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds)


def main(settings: dict[str, Any]) -> None:
    """Compile, and run as a contestant until standard input ends."""
    facts = {}
    if settings["contestant"] == "setup":
        setup()
    if settings["contestant"] == "netzoo":
        # In a process of its own, so that netzoo starts from an unused heap like the others.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            facts["peak_flops"] = max(pool.map(matmul_peak, {"float32", settings["dtype"]}))
    try:
        step, state, program = make_program(settings)
    except UserError as error:
        serve({"error": str(error)})
        return
    facts["versions"] = {"device": jax.devices()[0].device_kind, **machine()}
    serve_steps({**facts, **program}, step, state, jax.block_until_ready, peak_jax_bytes)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
