"""The Transformer's decoding token by token, from a cache, is its decoding at once."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.errors import UserError
from tests.models.small_transformer import SOURCE, TARGET, VOCABULARY, draw, small


def start(model, variables, max_length):
    """Returns the cache before the first token."""
    memory = model.apply(variables, SOURCE, train=False, method="encode")
    return model.apply(variables, memory, SOURCE != 0, max_length, method="init_cache")


def at_once(model, variables, source=SOURCE, target=TARGET):
    """Returns the logits of the whole target."""
    return jax.jit(lambda tree: model.apply(tree, source, target, train=False))(variables)


def by_steps(model, variables, max_length):
    """Returns the same from a compiled loop over the tokens."""

    def run(variables):
        cache = start(model, variables, max_length)
        logits = jnp.zeros((*TARGET.shape, VOCABULARY), model.dtype)

        def body(carry):
            cache, logits = carry
            position = cache.position
            token = jax.lax.dynamic_index_in_dim(jnp.asarray(TARGET), position, 1, keepdims=False)
            new, cache = model.apply(variables, token, cache, method="decode_step")
            return cache, jax.lax.dynamic_update_index_in_dim(logits, new, position, 1)

        def unfinished(carry):
            return carry[0].position < TARGET.shape[1]

        return jax.lax.while_loop(unfinished, body, (cache, logits))[1]

    return jax.jit(run)(variables)


@pytest.mark.parametrize("options", [{}, {"norm_first": True, "share_embeddings": False}])
def test_by_steps_is_at_once(options):
    """In float64 to the rounding of sums, with padded sources and room left in the cache."""
    with jax.enable_x64(True):
        model = small(dtype=jnp.float64, **options)
        variables = jax.tree.map(lambda x: x.astype(jnp.float64), draw(model))
        whole, steps = at_once(model, variables), by_steps(model, variables, max_length=6)
        assert whole.dtype == steps.dtype == jnp.float64
        np.testing.assert_allclose(steps, whole, rtol=0, atol=1e-12)


def test_by_steps_the_same_tokens_win():
    """And in float32 too, with a cache that is just long enough."""
    model = small()
    variables = draw(model)
    whole, steps = at_once(model, variables), by_steps(model, variables, TARGET.shape[1])
    np.testing.assert_allclose(steps, whole, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(steps.argmax(-1), whole.argmax(-1))


def test_the_cache_follows_its_beams():
    """Rows can be repeated, once a beam, and exchanged: each goes on from its new past."""
    model = small()
    variables = draw(model)
    step = jax.jit(lambda token, cache: model.apply(variables, token, cache, method="decode_step"))
    sentences = np.array([0, 0, 1, 1])  # two beams for each of the first two
    cache = jax.jit(lambda tree: start(model, tree, 5).select(sentences))(variables)
    beams = np.array([[1, 4], [1, 9], [1, 3], [1, 6]], np.int32)
    for position in range(2):
        _, cache = step(beams[:, position], cache)
    parents, last = np.array([1, 0, 2, 2]), np.array([7, 7, 5, 8], np.int32)
    found, cache = step(last, cache.reorder(parents))
    targets = np.concatenate([beams[parents], last[:, None]], axis=1)
    expected = at_once(model, variables, SOURCE[sentences], targets)[:, -1]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert int(cache.position) == 3


def test_the_cache_has_the_compute_type():
    """Half the memory in bfloat16; shapes as the docstring has them, the same after a step."""
    model = small(dtype=jnp.bfloat16)

    def run(key):
        variables = model.init(key, SOURCE, TARGET, train=False)
        cache = start(model, variables, 7)
        return cache, *model.apply(variables, TARGET[:, 0], cache, method="decode_step")

    before, logits, after = jax.eval_shape(run, jax.random.key(0))
    chex.assert_trees_all_equal_shapes_and_dtypes(before, after)
    assert {x.shape for x in before.self_attention} == {(2, 3, 7, 4, 4)}
    assert {x.shape for x in before.cross_attention} == {(2, 3, 5, 4, 4)}
    chex.assert_type([*before.self_attention, *before.cross_attention], jnp.bfloat16)
    assert (logits.shape, logits.dtype) == ((3, VOCABULARY), jnp.float32)


def test_a_step_takes_one_token_a_row():
    """A target `[batch, 1]` is answered with what is expected."""
    model = small()

    def run(key):
        variables = model.init(key, SOURCE, TARGET, train=False)
        cache = start(model, variables, 7)
        return model.apply(variables, TARGET[:, :1], cache, method="decode_step")

    with pytest.raises(UserError, match=r"token is int32\[3, 1\]; .* \[batch\]"):
        jax.eval_shape(run, jax.random.key(0))
