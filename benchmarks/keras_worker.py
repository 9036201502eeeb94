"""A contestant in Keras on JAX: a network of `keras.applications`, the whole step compiled."""

import json
import sys
import time
from typing import Any

import jax
import keras
import numpy as np

from benchmarks.contestants import peak_jax_bytes, serve_steps
from benchmarks.peers import KERAS

NUM_CLASSES = 1000


def make_program(settings: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """Compile a step; return `step(state) -> (state, loss)`, the first state, and facts."""
    if settings["dtype"] == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    batch, side, train = settings["batch_size"], settings["image_size"], settings["mode"] == "train"
    network = KERAS[settings["model"]]
    model = getattr(keras.applications, network.name)(
        weights=None,
        classes=NUM_CLASSES,
        input_shape=(side, side, 3),
        classifier_activation=None,
    )
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.05)
    optimizer.build(model.trainable_variables)
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rng = np.random.default_rng(0)
    images = jax.device_put(rng.integers(0, 256, (batch, side, side, 3), dtype=np.uint8))
    labels = jax.device_put(rng.integers(0, NUM_CLASSES, batch, dtype=np.int32))

    def loss(trained, rest, images, labels):
        x = (images.astype("float32") - 127.5) / 127.5
        logits, rest = model.stateless_call(trained, rest, x, training=train)
        return entropy(labels, logits.astype("float32")), rest

    def step(state, images, labels):
        trained, rest, moments = state
        if not train:
            return state, loss(trained, rest, images, labels)[0]
        gradient = jax.value_and_grad(loss, has_aux=True)
        (value, rest), grads = gradient(trained, rest, images, labels)
        trained, moments = optimizer.stateless_apply(moments, grads, trained)
        return (trained, rest, moments), value

    def values(variables):
        return [variable.value for variable in variables]

    moments = values(optimizer.variables) if train else []
    state = (values(model.trainable_variables), values(model.non_trainable_variables), moments)
    start = time.perf_counter()
    compiled = jax.jit(step, donate_argnums=0).lower(state, images, labels).compile()
    facts = {
        "compile_seconds": time.perf_counter() - start,
        "parameters": sum(x.size for x in state[0]) - network.extra_parameters,
        "versions": {"keras": keras.__version__},
    }
    return lambda state: compiled(state, images, labels), state, facts


if __name__ == "__main__":
    step, state, facts = make_program(json.loads(sys.argv[1]))
    serve_steps(facts, step, state, jax.block_until_ready, peak_jax_bytes)
