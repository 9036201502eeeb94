"""Multi-head attention against its formula, with and without masks and memory."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo import kernels
from netzoo.errors import UserError
from netzoo.layers import KeyValue, MultiHeadAttention

HEADS, WIDTH = 3, 12


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def parameters():
    """Return random projections, float64."""
    names = ("query", "key", "value", "out")
    return {
        name: {"kernel": draw(seed, WIDTH, WIDTH) / 3, "bias": draw(seed + 10, WIDTH)}
        for seed, name in enumerate(names)
    }


def reference(params, x, memory=None, mask=None):
    """softmax(Q K^T / sqrt(d)) V, head by head, in NumPy."""
    memory = x if memory is None else memory

    def project(name, y):
        y = y @ params[name]["kernel"] + params[name]["bias"]
        return np.split(y, HEADS, axis=-1)

    heads = []
    for query, key, value in zip(
        project("query", x), project("key", memory), project("value", memory), strict=True
    ):
        scores = query @ key.swapaxes(1, 2) / np.sqrt(WIDTH // HEADS)
        scores = scores if mask is None else np.where(mask, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        heads.append(weights / weights.sum(-1, keepdims=True) @ value)
    return np.concatenate(heads, -1) @ params["out"]["kernel"] + params["out"]["bias"]


def attend(params, *args, dtype=jnp.float32, **options):
    layer = MultiHeadAttention(HEADS, dtype=dtype)
    params = jax.tree.map(jnp.asarray, params)
    return layer.apply({"params": params}, *args, train=False, **options)


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.float64, 1e-13)])
def test_formula(dtype, tolerance):
    """Scaled by the width of a head; in float64 no step is rounded to float32."""
    x = draw(20, 2, 5, WIDTH)
    with jax.enable_x64(dtype == jnp.float64):
        y = attend(parameters(), jnp.asarray(x, dtype), dtype=dtype)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, reference(parameters(), x), rtol=tolerance, atol=tolerance)


def test_memory():
    """Queries come from `x`, keys and values from a memory of another length."""
    x, memory = draw(20, 2, 5, WIDTH), draw(21, 2, 7, WIDTH)
    y = attend(parameters(), jnp.asarray(x), jnp.asarray(memory))
    np.testing.assert_allclose(y, reference(parameters(), x, memory), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("step", [1, 2])
def test_a_cache_is_filled_position_by_position(step):
    """Decoding `step` positions at a time attends as all positions do with a causal mask."""
    x, params = jnp.asarray(draw(20, 2, 4, WIDTH), jnp.float32), parameters()
    size = WIDTH // HEADS
    cache = KeyValue(jnp.zeros((2, HEADS, size, 4)), jnp.zeros((2, HEADS, 4, size)))
    causal, outputs = np.tril(np.ones((4, 4), bool)), []
    for start in range(0, 4, step):
        part = slice(start, start + step)
        options = {"cache": cache, "position": start, "details": True}
        attended = attend(params, x[:, part], None, causal[part], **options)
        outputs.append(attended.output)
        cache = attended.memory
    expected = reference(params, x, mask=causal)
    np.testing.assert_allclose(np.concatenate(outputs, 1), expected, rtol=1e-5, atol=1e-5)


def test_mask():
    """Positions with mask False have no influence."""
    x = draw(20, 2, 5, WIDTH)
    causal = np.tril(np.ones((5, 5), bool))
    y = attend(parameters(), jnp.asarray(x), mask=jnp.asarray(causal)[None, None])
    expected = reference(parameters(), x, mask=causal)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    x[:, 3:] = 1e3
    other = attend(parameters(), jnp.asarray(x), mask=jnp.asarray(causal)[None, None])
    np.testing.assert_array_equal(y[:, :3], other[:, :3])


def test_masks_of_examples():
    """A mask of `[batch, 1, 1, memory_length]` hides the padding of each example."""
    x = draw(20, 2, 5, WIDTH)
    lengths = np.array([5, 2])
    mask = np.arange(5) < lengths[:, None]
    y = attend(parameters(), jnp.asarray(x), mask=jnp.asarray(mask)[:, None, None])
    for example, length in enumerate(lengths):
        alone = x[example : example + 1]
        expected = reference(parameters(), alone, alone[:, :length])
        np.testing.assert_allclose(y[example : example + 1], expected, rtol=1e-5, atol=1e-5)


def test_nothing_to_look_at_is_no_nan():
    """A fully masked position has uniform weights and finite gradients."""
    x = jnp.asarray(draw(20, 1, 4, WIDTH), jnp.float32)
    mask = jnp.zeros((1, 1, 4, 4), bool)
    y, gradient = jax.value_and_grad(lambda x: attend(parameters(), x, mask=mask).sum())(x)
    assert np.isfinite(y) and np.isfinite(gradient).all()


def test_bfloat16():
    """Projections are bfloat16; the softmax keeps float32, so that weights still sum to 1."""
    x = draw(20, 2, 50, WIDTH)
    y = attend(parameters(), jnp.asarray(x, jnp.bfloat16), dtype=jnp.bfloat16)
    assert y.dtype == jnp.bfloat16
    expected = reference(parameters(), x)
    np.testing.assert_allclose(y.astype(jnp.float32), expected, atol=0.05 * np.abs(expected).max())


def test_dropout_of_the_weights_keeps_the_mean():
    """In training only, dropped weights are zero and others are scaled up."""
    layer = MultiHeadAttention(HEADS, dropout_rate=0.5)
    params, x = jax.tree.map(jnp.asarray, parameters()), jnp.asarray(draw(20, 1, 8, WIDTH))
    run = jax.jit(jax.vmap(
        lambda key: layer.apply({"params": params}, x, train=True, rngs={"dropout": key})
    ))  # fmt: skip
    many = run(jax.random.split(jax.random.key(0), 4000))
    assert not np.allclose(many[0], many[1])
    expected = reference(parameters(), np.asarray(x))
    np.testing.assert_allclose(many.mean(0), expected, atol=0.1 * np.abs(expected).max())
    still = layer.apply({"params": params}, x, train=False)
    np.testing.assert_allclose(still, expected, rtol=1e-4, atol=1e-4)


def test_heads_have_to_divide_the_width():
    """The error names both numbers."""
    with pytest.raises(UserError, match="num_heads is 5, which does not divide the width 12; use"):
        MultiHeadAttention(5).init(jax.random.key(0), jnp.zeros((1, 2, WIDTH)), train=False)


@pytest.mark.parametrize("masked", [False, True])
def test_the_same_as_jax(masked):
    """The output equals that of JAX's own attention."""
    x = jnp.asarray(draw(20, 2, 5, WIDTH), jnp.float32)
    mask = jnp.tri(5, dtype=bool)[None, None] if masked else None
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), parameters())
    query, key, value = (
        (x @ params[name]["kernel"] + params[name]["bias"]).reshape(2, 5, HEADS, -1)
        for name in ("query", "key", "value")
    )
    context = jax.nn.dot_product_attention(query, key, value, mask=mask).reshape(x.shape)
    expected = context @ params["out"]["kernel"] + params["out"]["bias"]
    np.testing.assert_allclose(attend(params, x, mask=mask), expected, rtol=1e-5, atol=1e-6)


def training_gradient(params, backend):
    """Return the output, the weights and the gradients, and the shapes of what is kept for them."""
    layer = MultiHeadAttention(HEADS, dropout_rate=0.3, dtype=jnp.float64)
    x = jnp.asarray(draw(20, 2, 5, WIDTH))
    mask, keys = jnp.tri(5, dtype=bool)[None, None], {"dropout": jax.random.key(0)}

    def attended(params, x):
        options = {"train": True, "rngs": keys, "details": True}
        found = layer.apply({"params": params}, x, None, mask, **options)
        return found.output, found.weights

    def gradients(params, x):
        output, backwards, weights = jax.vjp(attended, params, x, has_aux=True)
        return output, weights, backwards(output)

    with kernels.use_backend(backend):
        kept = jax.eval_shape(lambda *args: jax.vjp(attended, *args, has_aux=True)[1], params, x)
        return jax.jit(gradients)(params, x), {leaf.shape for leaf in jax.tree.leaves(kept)}


def test_accelerators_compute_the_weights_again():
    """A training step stores no attention weights there, and nothing else changes.

    The comparison uses float64 and has sums of at most 12 terms.
    """
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, parameters())
        ours, kept = training_gradient(params, "native")
        theirs, kept_on_cpu = training_gradient(params, "cpu")
    chex.assert_trees_all_close(ours, theirs, rtol=1e-12, atol=1e-12)
    weights = (2, HEADS, 5, 5)
    assert weights in kept_on_cpu and weights not in kept
