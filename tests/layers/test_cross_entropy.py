"""The cross-entropy of a vocabulary computes what optax computes from targets written out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from netzoo.layers.cross_entropy import smoothed_cross_entropy


def written_out(logits, labels, smoothing):
    targets = optax.smooth_labels(
        jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype), smoothing
    )
    return optax.softmax_cross_entropy(logits, targets)


def example(dtype):
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(0, 4, (3, 5, 37)), dtype)
    labels = jnp.asarray(rng.integers(0, 37, (3, 5)), jnp.int32)
    weights = jnp.asarray(rng.uniform(size=(3, 5)), dtype).at[0].set(0)
    return logits, labels, weights


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-14)])
def test_losses_and_gradients_are_those_of_targets_written_out(dtype, tolerance, smoothing):
    """A wrong share of smoothing or a wrong backward pass would change what training reaches."""
    with jax.enable_x64(dtype == "float64"):
        logits, labels, weights = example(dtype)

        def both(loss):
            def total(x):
                losses = loss(x, labels, smoothing)
                return (losses * weights).sum(), losses

            return jax.jit(jax.grad(total, has_aux=True))(logits)

        for ours, theirs in zip(both(smoothed_cross_entropy), both(written_out), strict=True):
            assert ours.dtype == dtype
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def test_large_logits_do_not_overflow():
    """Early training and half precision reach logits whose exponentials are infinite."""
    logits = jnp.asarray([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]])
    labels = jnp.asarray([0, 2])
    losses, gradient = jax.value_and_grad(lambda x: smoothed_cross_entropy(x, labels, 0.0).sum())(
        logits
    )
    np.testing.assert_allclose(losses, np.log(3), rtol=1e-6)
    np.testing.assert_allclose(gradient, [[0, 0, 0], [1 / 3, 1 / 3, -2 / 3]], atol=1e-6)


def test_half_precision_logits_have_a_float32_loss_and_a_gradient_like_themselves():
    """A loss in bfloat16 has three digits; a float32 gradient would double the largest array."""
    logits, labels, _ = example("bfloat16")
    losses, pullback = jax.vjp(lambda x: smoothed_cross_entropy(x, labels, 0.1), logits)
    assert losses.dtype == jnp.float32
    assert pullback(jnp.ones_like(losses))[0].dtype == jnp.bfloat16
    expected = written_out(logits.astype(jnp.float32), labels, 0.1)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
