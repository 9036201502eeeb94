"""cuDNN's attention: where it is used, and that it gets what it needs.

Without a GPU, XLA's implementation of the same function stands in for cuDNN's.
"""

import functools
import re
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo import kernels
from netzoo.kernels.attention import cudnn_attention
from netzoo.layers import MultiHeadAttention
from netzoo.layers.attention import attention_weights

ATTENTION = jax.nn.dot_product_attention


def by_xla(*arrays, implementation, **lengths):
    assert implementation == "cudnn"
    return ATTENTION(*arrays, implementation="xla", **lengths)


def written(query, key, value):
    weights = attention_weights(query, key.swapaxes(2, 3), None)
    return jnp.einsum("bhqk,bhkd->bhqd", weights, value)


@pytest.mark.parametrize(("length", "memory_length"), [(6, 6), (7, 7), (6, 5)])
def test_equals_the_written_attention(length, memory_length, monkeypatch):
    """Layouts, scale and padding are right, for values and gradients.

    Sums have at most 8 terms: some units in the last place of values near 1.
    """
    monkeypatch.setattr(jax.nn, "dot_product_attention", by_xla)
    rng = np.random.default_rng(0)
    query, cotangent = rng.normal(size=(2, 2, 3, length, 8)).astype(np.float32)
    key, value = rng.normal(size=(2, 2, 3, memory_length, 8)).astype(np.float32)

    def run(attend):
        result, vjp = jax.vjp(attend, query, key, value)
        return result, vjp(jnp.asarray(cotangent))

    ours, theirs = (jax.jit(functools.partial(run, f))() for f in (cudnn_attention, written))
    chex.assert_trees_all_close(ours, theirs, rtol=1e-5, atol=1e-5)


class Called(Exception):
    """cuDNN would compute the attention."""


HALF = {"dtype": jnp.bfloat16}
# Options of the layer, arguments of the call, and the backend.
USED = {
    "training": (HALF, {"train": True}, "cuda"),
    "float16": ({"dtype": jnp.float16}, {"train": True}, "cuda"),
    "evaluation with dropout": ({**HALF, "dropout_rate": 0.1}, {"train": False}, "cuda"),
}
NOT_USED = {
    "float32": ({}, {"train": True}, "cuda"),
    "dropout": ({**HALF, "dropout_rate": 0.1}, {"train": True}, "cuda"),
    "mask": (HALF, {"train": True, "mask": jnp.ones((1, 1, 1, 5), bool)}, "cuda"),
    "weights": (HALF, {"train": True, "details": True}, "cuda"),
    "odd heads": ({**HALF, "num_heads": 4}, {"train": True}, "cuda"),
    "plain program": (HALF, {"train": True}, "native"),
    "CPU": (HALF, {"train": True}, "cpu"),
}


@pytest.mark.parametrize("name", [*USED, *NOT_USED])
def test_cudnn_attends_where_it_can(name, monkeypatch):
    """Everywhere else, the written attention computes."""

    def called(*arrays, **options):
        raise Called

    monkeypatch.setattr(jax.nn, "dot_product_attention", called)
    options, arguments, backend = {**USED, **NOT_USED}[name]
    layer = MultiHeadAttention(**{"num_heads": 2, **options})
    x = jnp.ones((1, 5, 16))
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    with kernels.use_backend(backend):
        try:
            jax.eval_shape(lambda: layer.init_with_output(keys, x, **arguments))
        except Called:
            assert name in USED
        else:
            assert name in NOT_USED


def test_the_program_for_a_gpu_calls_cudnn():
    """Forward and backward pass are one call each, and no weights are stored."""
    layer = MultiHeadAttention(2, dtype=jnp.bfloat16)
    x = jax.ShapeDtypeStruct((2, 197, 128), jnp.float32)

    def loss(variables, x):
        return layer.apply(variables, x, train=True).astype(jnp.float32).sum()

    # JAX asks the installed cuDNN for its version. Only JAX's GPU packages install cuDNN.
    version = "jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version"
    with kernels.use_backend("cuda"), mock.patch(version, return_value=91000):
        variables = jax.eval_shape(
            lambda: layer.init(jax.random.key(0), jnp.ones(x.shape), train=True)
        )
        traced = jax.jit(jax.grad(loss)).trace(variables, x)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    calls = re.findall(r"custom_call @(__cudnn\S+?)\(", text)
    assert calls == ["__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward"]
    assert "x197x197x" not in text and "x198x198x" not in text
