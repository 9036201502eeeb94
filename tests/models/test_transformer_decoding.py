"""Decoding token by token with a cache equals decoding at once."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.errors import UserError
from tests.conftest import slow
from tests.models.small_transformer import SOURCE, TARGET, VOCABULARY, draw, small


def start(model, variables, max_length, beams=1):
    """Return the cache before the first token."""
    memory = model.apply(variables, SOURCE, train=False, method="encode")
    return model.apply(variables, memory, SOURCE != 0, max_length, beams, method="init_cache")


def at_once(model, variables, source=SOURCE, target=TARGET):
    """Return the logits of the whole target."""
    return jax.jit(lambda tree: model.apply(tree, source, target, train=False))(variables)


def by_steps(model, variables, max_length):
    """Return the same from a compiled loop over the tokens."""

    def run(variables):
        cache = start(model, variables, max_length)
        logits = jnp.zeros((*TARGET.shape, VOCABULARY), model.dtype)

        def body(carry):
            cache, logits = carry
            position = cache.position
            token = jax.lax.dynamic_slice_in_dim(jnp.asarray(TARGET), position, 1, axis=1)
            new, cache = model.apply(variables, token, cache, method="decode_step")
            return cache, jax.lax.dynamic_update_slice_in_dim(logits, new, position, axis=1)

        def unfinished(carry):
            return carry[0].position < TARGET.shape[1]

        return jax.lax.while_loop(unfinished, body, (cache, logits))[1]

    return jax.jit(run)(variables)


@pytest.mark.parametrize("options", [{}, slow({"norm_first": True, "share_embeddings": False})])
def test_by_steps_is_at_once(options):
    """Both equal in float64 up to rounding, with padded sources and a longer cache."""
    with jax.enable_x64(True):
        model = small(dtype=jnp.float64, **options)
        variables = jax.tree.map(lambda x: x.astype(jnp.float64), draw(model))
        whole, steps = at_once(model, variables), by_steps(model, variables, max_length=6)
        assert whole.dtype == steps.dtype == jnp.float64
        np.testing.assert_allclose(steps, whole, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_by_steps_the_same_tokens_win():
    """Both equal in float32, with a cache of exactly the length."""
    model = small()
    variables = draw(model)
    whole, steps = at_once(model, variables), by_steps(model, variables, TARGET.shape[1])
    np.testing.assert_allclose(steps, whole, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(steps.argmax(-1), whole.argmax(-1))


def test_the_cache_follows_its_beams():
    """Reordered beams continue from their new past."""
    model = small()
    variables = draw(model)
    step = jax.jit(
        lambda tokens, cache: model.apply(variables, tokens, cache, method="decode_step")
    )
    cache = jax.jit(lambda tree: start(model, tree, 5, beams=3))(variables)
    rng = np.random.default_rng(0)
    targets = np.ones((len(SOURCE), 3, 0), np.int32)
    for position in range(5):
        parents = rng.integers(0, 3, targets.shape[:2])
        last = rng.integers(1, VOCABULARY, parents.shape, np.int32)
        targets = np.take_along_axis(targets, parents[..., None], axis=1)
        targets = np.concatenate([targets, last[..., None]], axis=2)
        found, cache = step(last, cache.reorder(parents))
        assert int(cache.position) == position + 1
    for beam in range(3):
        expected = at_once(model, variables, SOURCE, targets[:, beam])[:, -1]
        np.testing.assert_allclose(found[:, beam], expected, rtol=1e-4, atol=1e-4)


def test_the_cache_has_the_compute_type():
    """The cache has `dtype` and the documented shapes, which a step does not change."""
    model = small(dtype=jnp.bfloat16)

    def run(key):
        variables = model.init(key, SOURCE, TARGET, train=False)
        cache = start(model, variables, 7, beams=2)
        return cache, *model.apply(variables, TARGET[:, :2], cache, method="decode_step")

    before, logits, after = jax.eval_shape(run, jax.random.key(0))
    chex.assert_trees_all_equal_shapes_and_dtypes(before, after)
    assert {layer.key.shape for layer in before.self_attention} == {(3, 4, 4, 14)}
    assert {layer.value.shape for layer in before.self_attention} == {(3, 4, 14, 4)}
    assert before.cross_attention.key.shape == (2, 3, 4, 4, 5)
    assert before.cross_attention.value.shape == (2, 3, 4, 5, 4)
    chex.assert_type([*before.self_attention[1], *before.cross_attention], jnp.bfloat16)
    assert (logits.shape, logits.dtype) == ((3, 2, VOCABULARY), jnp.float32)


def test_a_step_takes_one_token_a_beam():
    """Tokens `[batch]` are an error with the expected shape."""
    model = small()

    def run(key):
        variables = model.init(key, SOURCE, TARGET, train=False)
        cache = start(model, variables, 7)
        return model.apply(variables, TARGET[:, 0], cache, method="decode_step")

    with pytest.raises(UserError, match=r"tokens is int32\[3\]; .* \[batch, beams\]"):
        jax.eval_shape(run, jax.random.key(0))
