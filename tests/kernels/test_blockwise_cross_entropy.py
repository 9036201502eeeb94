"""The blockwise cross-entropy equals that of optax on all logits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from netzoo.kernels import blockwise_cross_entropy
from netzoo.kernels.blockwise_cross_entropy import classifier_cross_entropy
from tests.conftest import slow

CLASSES = 37


def written_out(x, kernel, labels, weights, smoothing):
    logits = (x @ kernel).astype(jnp.promote_types(x.dtype, jnp.float32))
    targets = optax.smooth_labels(
        jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype), smoothing
    )
    losses = optax.softmax_cross_entropy(logits, targets)
    return (weights * losses).sum(), logits.argmax(-1) == labels


def example(dtype):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, 5, 8)), dtype)
    kernel = jnp.asarray(rng.normal(size=(8, CLASSES)), dtype)
    labels = jnp.asarray(rng.integers(0, CLASSES, (3, 5)), jnp.int32)
    # Make some labels correct.
    best = (x @ kernel).argmax(-1).astype(labels.dtype)
    labels = labels.at[:, ::2].set(best[:, ::2])
    weights = jnp.asarray(rng.uniform(size=(3, 5)), dtype).at[0].set(0)
    return x, kernel, labels, weights


@pytest.mark.parametrize("positions", [slow(1), 2, slow(5)], ids="blocks of {}".format)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-14)])
def test_losses_and_gradients_are_those_of_logits_written_out(
    dtype, tolerance, smoothing, positions, monkeypatch
):
    """Loss, gradients and correctness match.

    Blocks of two positions divide five, so the last block is padded.
    """
    monkeypatch.setattr(blockwise_cross_entropy, "BLOCK_SIZE", 3 * CLASSES * positions)
    with jax.enable_x64(dtype == "float64"):
        x, kernel, labels, weights = example(dtype)

        def both(loss):
            def total(x, kernel):
                value, correct = loss(x, kernel, labels, weights, smoothing)
                return 2 * value, (value, correct)  # scales the gradient

            gradients, values = jax.jit(jax.grad(total, (0, 1), has_aux=True))(x, kernel)
            without = jax.jit(loss, static_argnums=4)(x, kernel, labels, weights, smoothing)
            return gradients, values, without

        ours, theirs = both(classifier_cross_entropy), both(written_out)
        assert 0 < int(theirs[1][1].sum()) < labels.size
        for mine, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            assert mine.dtype == other.dtype
            np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance)


def test_large_logits_do_not_overflow():
    """Large logits do not overflow."""
    x = jnp.asarray([[[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]]])
    labels = jnp.asarray([[0, 2]])
    (loss, correct), gradient = jax.value_and_grad(
        lambda x: classifier_cross_entropy(x, jnp.eye(3), labels, jnp.ones((1, 2))), has_aux=True
    )(x)
    np.testing.assert_allclose(loss, np.log(3), rtol=1e-6)
    # Where all classes are equal the first one is chosen, as by argmax: a tie is not always right.
    assert correct.tolist() == [[True, False]]
    np.testing.assert_allclose(gradient, [[[0, 0, 0], [1 / 3, 1 / 3, -2 / 3]]], atol=1e-6)


def test_half_precision_has_a_float32_loss_and_gradients_like_its_operands():
    """With bfloat16 inputs, the loss is float32 and the gradients are bfloat16."""
    x, kernel, labels, weights = example("bfloat16")
    weights = weights.astype(jnp.float32)
    loss, pullback, _ = jax.vjp(
        lambda *operands: classifier_cross_entropy(*operands, labels, weights, 0.1),
        x,
        kernel,
        has_aux=True,
    )
    assert loss.dtype == jnp.float32
    assert {gradient.dtype for gradient in pullback(jnp.ones_like(loss))} == {jnp.bfloat16.dtype}
    expected, _ = written_out(x, kernel, labels, weights, 0.1)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
