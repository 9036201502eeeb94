"""A contestant in JAX: netzoo's Transformer, trained or translating."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from chex import ArrayTree

from benchmarks.contestants import peak_jax_bytes, serve_steps
from benchmarks.sentences import PAD, draw_pairs
from benchmarks.worker import make_training
from netzoo.kernels import compiler_options
from netzoo.models.transformer import Transformer, Variant
from netzoo.tasks.translation.beam_search import SearchOptions, beam_search

# No token has this number, so every translation has the maximum length.
NO_END = -1


def make_loss(model: Any, smoothing: float) -> Callable:
    """Return `loss(params, rest, source, target, key) -> (mean of the real labels, rest)`."""

    def loss(params, rest, source, target, key):
        labels = target[:, 1:]
        real = labels != PAD
        total, _ = model.apply(
            {"params": params},
            source,
            target[:, :-1],
            labels,
            real / real.sum(),
            smoothing,
            train=True,
            rngs={"dropout": key},
            method="cross_entropy",
        )
        return total, rest

    return loss


def make_translation(
    model: Any, variables: ArrayTree, settings: dict[str, Any]
) -> tuple[Callable, ArrayTree]:
    """Return `(state, source, target) -> (state, mean score)`, and a state."""
    rows, beams, length = (settings[name] for name in ("rows", "beams", "length"))
    options = SearchOptions(length, beams, length_penalty=0.0, end=NO_END)

    def step(state, source, target):
        del target
        variables, _ = state
        found = beam_search(model, variables, source, options)
        return (variables, found.tokens), found.scores[:, 0].mean()

    # The state includes the tokens only because XLA would not compute unused results.
    return step, (variables, jnp.zeros((rows, beams, length), jnp.int32))


def make_program(settings: dict[str, Any]) -> tuple[Callable, ArrayTree, dict[str, Any]]:
    """Compile a step; return `step(state) -> (state, loss)`, a state and facts."""
    variant = Variant(**{name: settings[name] for name in Variant._fields})
    model = Transformer(variant, settings["vocabulary"], dropout_rate=variant.dropout_rate)
    pairs = draw_pairs(settings["rows"], settings["length"], settings["vocabulary"])
    source, target = (jax.device_put(np.asarray(tokens, np.int32)) for tokens in pairs)
    token = jnp.zeros((1, 1), jnp.int32)
    variables = jax.jit(lambda key: model.init(key, token, token, train=False))(jax.random.key(0))
    facts = {"parameters": sum(x.size for x in jax.tree.leaves(variables))}
    if settings["mode"] == "train":
        step, state = make_training(make_loss(model, settings["smoothing"]), variables)
    else:
        step, state = make_translation(model, variables, settings)
    step = jax.jit(step, donate_argnums=0, compiler_options=compiler_options())
    start = time.perf_counter()
    compiled = step.lower(state, source, target).compile()
    facts["compile_seconds"] = time.perf_counter() - start
    return lambda state: compiled(state, source, target), state, facts


def main(settings: dict[str, Any]) -> None:
    """Compile, and run as a contestant until standard input ends."""
    step, state, facts = make_program(settings)
    facts |= {"versions": {"device": jax.devices()[0].device_kind}, "exact": False}
    serve_steps(facts, step, state, jax.block_until_ready, peak_jax_bytes)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
