"""BatchNorm and its gradient equal flax.linen.BatchNorm."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from netzoo import kernels
from netzoo.errors import UserError
from netzoo.layers import BatchNorm, batch_norm_groups

MOMENTUM, EPSILON = 0.8, 1e-3


@pytest.fixture
def variables():
    """Parameters and statistics far from their initial values."""
    draws = iter(jax.random.normal(jax.random.key(1), (4, 6)))
    return {
        "params": {"scale": 1 + next(draws) / 4, "bias": next(draws)},
        "batch_stats": {"mean": next(draws), "var": jnp.exp(next(draws))},
    }


@pytest.fixture
def x():
    return 2 * jax.random.normal(jax.random.key(2), (4, 5, 3, 6)) + 1


def ours(variables, x, train, **options):
    layer = BatchNorm(momentum=MOMENTUM, epsilon=EPSILON, **options)
    return layer.apply(variables, x, train=train, mutable=["batch_stats"])


def flaxs(variables, x, train):
    layer = nn.BatchNorm(momentum=MOMENTUM, epsilon=EPSILON, use_fast_variance=False)
    return layer.apply(variables, x, use_running_average=not train, mutable=["batch_stats"])


@pytest.mark.parametrize("train", [True, False])
def test_equals_flax(train, variables, x):
    """Values, running statistics and gradients of input, scale and bias match."""
    chex.assert_trees_all_equal_shapes_and_dtypes(
        BatchNorm().init(jax.random.key(0), x, train=train),
        nn.BatchNorm().init(jax.random.key(0), x, use_running_average=not train),
    )

    def run(layer):
        def loss(params, x):
            y, updates = layer({**variables, "params": params}, x, train)
            return jnp.sum(jnp.sin(y) * jnp.arange(y.size).reshape(y.shape) / y.size), (y, updates)

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(
            variables["params"], x
        )

    # Means of 60 values and few products: some units in the last place of values near 1.
    chex.assert_trees_all_close(run(ours), run(flaxs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(7, 6), (3, 5, 6), (1, 1, 2, 6), (2, 3, 2, 2, 6)])
def test_any_rank(shape, variables):
    """All axes but the last are positions."""
    x = jax.random.normal(jax.random.key(0), shape)
    actual, expected = ours(variables, x, True), flaxs(variables, x, True)
    chex.assert_trees_all_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_one_value_per_channel_is_refused_in_training(variables):
    """A single value has variance 0: nothing is learnt, and the running variance decays."""
    x = jnp.ones((1, 1, 1, 6))
    layer = BatchNorm()
    with pytest.raises(UserError, match=r"one value per channel, \(1, 1, 1, 6\)"):
        jax.eval_shape(lambda v, x: layer.apply(v, x, train=True), variables, x)
    with pytest.raises(UserError, match=r"fewer train\.batch_norm_groups"), batch_norm_groups(3):
        jax.eval_shape(lambda v: layer.apply(v, jnp.ones((3, 1, 1, 6)), train=True), variables)
    assert layer.apply(variables, x, train=False).shape == x.shape
    layer.init(jax.random.key(0), x, train=True)  # shapes alone
    (batch,) = export.symbolic_shape("batch")
    symbolic = jax.ShapeDtypeStruct((batch, 1, 1, 6), jnp.float32)
    for backend in ("cpu", "native"):
        with kernels.use_backend(backend):
            export.export(jax.jit(lambda v, x: layer.apply(v, x, train=True)))(variables, symbolic)


@pytest.mark.parametrize("backend", ["cpu", "native"])
def test_groups_equal_their_parts_alone(backend, variables, x):
    """Each half of the batch is normalised as if it were alone; statistics are means over halves.

    Values differ only by the order of at most 30 sums: some units in the last place.
    """

    def run(groups, x):
        def loss(params, x):
            with batch_norm_groups(groups):
                y, updates = ours({**variables, "params": params}, x, True)
            return jnp.sum(jnp.sin(3 * y)), (y, updates["batch_stats"])

        gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
        (_, (y, statistics)), (d_params, d_x) = gradient(variables["params"], x)
        return {"batch": (y, d_x), "sums": d_params, "means": statistics}

    with kernels.use_backend(backend):
        both, whole = run(2, x), run(1, x)
        first, second = run(1, x[:2]), run(1, x[2:])
    together = {
        "batch": lambda a, b: jnp.concatenate([a, b]),
        "sums": lambda a, b: a + b,
        "means": lambda a, b: (a + b) / 2,
    }
    expected = {
        name: jax.tree.map(join, first[name], second[name]) for name, join in together.items()
    }
    chex.assert_trees_all_close(both, expected, rtol=1e-5, atol=1e-5)
    for halves, one in zip(both["batch"], whole["batch"], strict=True):
        assert jnp.abs(halves - one).max() > 0.01  # other statistics, other results
    # Equal parts have the mean of the whole, but not its variance.
    assert jnp.abs(both["means"]["var"] - whole["means"]["var"]).max() > 0.01


def test_gradient_is_that_of_finite_differences(variables, x):
    """The hand-written gradient equals differences of this forward pass."""
    jax.test_util.check_grads(
        lambda params, x: ours({**variables, "params": params}, x, True)[0],
        (variables["params"], x),
        order=1,
        modes=["rev"],
        rtol=2e-2,
        atol=2e-2,
    )


def test_statistics_change_only_in_training_and_where_mutable(variables, x):
    """Evaluation, and training under frozen statistics, leave the running statistics alone."""
    layer = BatchNorm(momentum=MOMENTUM)
    _, evaluated = layer.apply(variables, x, train=False, mutable=["batch_stats"])
    chex.assert_trees_all_equal(evaluated["batch_stats"], variables["batch_stats"])
    frozen = layer.apply(variables, x, train=True)  # no mutable collection is not an error
    y, trained = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    chex.assert_trees_all_equal(frozen, y)
    old = variables["batch_stats"]
    for name, batch in (("mean", x.mean((0, 1, 2))), ("var", x.var((0, 1, 2)))):
        np.testing.assert_allclose(
            trained["batch_stats"][name],
            MOMENTUM * old[name] + (1 - MOMENTUM) * batch,
            rtol=1e-5,
            atol=1e-6,
        )


def test_init_leaves_statistics_at_zero_and_one(x):
    """`init` does not update the running statistics."""
    stats = BatchNorm().init(jax.random.key(0), x, train=True)["batch_stats"]
    np.testing.assert_array_equal(stats["mean"], np.zeros(6))
    np.testing.assert_array_equal(stats["var"], np.ones(6))


def test_large_common_offset_keeps_unit_variance():
    """The variance is accurate for mean 1000 and deviation 1; one pass would be off by 6 %."""
    x = np.random.default_rng(0).normal(1e3, 1, (64, 8, 8, 6)).astype(np.float32)
    layer = BatchNorm(momentum=0.0)
    variables = layer.init(jax.random.key(0), x, train=False)
    y, updates = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    exact = x.astype(np.float64).var((0, 1, 2))
    np.testing.assert_allclose(updates["batch_stats"]["var"], exact, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(y, np.float64).var((0, 1, 2)), 1, rtol=1e-3)
    # The mean itself is a float32 sum of 4,096 values near 1,000.
    np.testing.assert_allclose(np.asarray(y, np.float64).mean((0, 1, 2)), 0, atol=1e-2)


@pytest.mark.parametrize("train", [True, False])
def test_bfloat16_in_and_out_with_float32_statistics(train, variables, x):
    """Statistics of bfloat16 activations are float32."""
    low = x.astype(jnp.bfloat16)

    def loss(params, low):
        y, updates = ours({**variables, "params": params}, low, train, dtype=jnp.bfloat16)
        return y.astype(jnp.float32).sum(), (y, updates)

    gradients, (y, updates) = jax.grad(loss, argnums=(0, 1), has_aux=True)(variables["params"], low)
    assert y.dtype == gradients[1].dtype == jnp.bfloat16
    for leaf in jax.tree.leaves((updates, gradients[0])):
        assert leaf.dtype == jnp.float32
    exact, expected = flaxs(variables, low.astype(jnp.float32), train)
    # The result is rounded once, to 8 bits; the statistics are not rounded.
    np.testing.assert_allclose(y.astype(jnp.float32), exact, rtol=2**-8, atol=1e-6)
    chex.assert_trees_all_close(updates, expected, rtol=1e-5)
