"""Local response normalisation: formula, gradient, and both conventions of alpha."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.kernels.local_response_norm import local_response_norm

# Strong factors; with the published ones the normalisation is nearly the identity.
CASES = {
    "paper's exponent": {"size": 5, "k": 2.0, "alpha": 0.3, "beta": 0.75},
    "another exponent": {"size": 3, "k": 1.0, "alpha": 0.5, "beta": 0.6},
    "even window": {"size": 4, "k": 1.0, "alpha": 0.3, "beta": 0.75},
    "wider than the channels": {"size": 19, "k": 1.0, "alpha": 0.1, "beta": 0.75},
    "own channel only": {"size": 1, "k": 1.0, "alpha": 0.5, "beta": 0.75},
    "alpha over size": {"size": 5, "k": 1.0, "alpha": 1.5, "beta": 0.75, "alpha_over_size": True},
}


def loop(x, size, k, alpha, beta, alpha_over_size=False):
    """Section 3.3 of the paper, channel by channel."""
    y = np.empty_like(x)
    for i in range(x.shape[-1]):
        first = max(0, i - size // 2)
        window = x[..., first : i - size // 2 + size]
        scale = alpha / size if alpha_over_size else alpha
        y[..., i] = x[..., i] / (k + scale * (window**2).sum(-1)) ** beta
    return y


def images(seed=0):
    return np.random.default_rng(seed).normal(size=(2, 3, 2, 7))


@pytest.mark.parametrize("case", CASES)
def test_equals_the_formula(case):
    """Window, edges, constants and exponent match in float64 and float32."""
    options, x = CASES[case], images()
    expected = loop(x, **options)
    with jax.enable_x64(True):
        np.testing.assert_allclose(local_response_norm(jnp.asarray(x), **options), expected, 1e-14)
    ours = local_response_norm(jnp.asarray(x, jnp.float32), **options)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_gradient_equals_differences(case):
    """The hand-written gradient equals central differences in float64.

    Their error is about `step ** 2 = 1e-10` for derivatives of order 1.
    """
    options, x, dy, step = CASES[case], images(), images(1), 1e-5
    with jax.enable_x64(True):
        _, pull_back = jax.vjp(lambda x: local_response_norm(x, **options), jnp.asarray(x))
        [gradient] = pull_back(jnp.asarray(dy))
    expected = np.empty_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        difference = loop(up, **options) - loop(down, **options)
        expected[index] = (difference * dy).sum() / (2 * step)
    np.testing.assert_allclose(gradient, expected, rtol=1e-7, atol=1e-8)


def test_defaults_are_the_papers():
    """K 2, n 5, alpha 1e-4 on the sum itself, beta 0.75."""
    x = 100 * images()
    expected = loop(x, size=5, k=2.0, alpha=1e-4, beta=0.75)
    ours = local_response_norm(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        # PyTorch 2.14: local_response_norm(x, size, alpha=0.5, beta=0.75, k=1.0).
        (4, [0.69480027, -0.93654894, 0.93239739, 0.86115973, -1.13166139]),
        (5, [0.51861081, -0.70710678, 0.73694697, 0.99408841, -1.30423715]),
    ],
)
def test_alpha_over_size_is_pytorchs(size, expected):
    """PyTorch's alpha is divided by the size, and its even windows extend to the left."""
    x = jnp.asarray([[1.0, -2.0, 3.0, 4.0, -5.0]])
    ours = local_response_norm(x, size=size, k=1.0, alpha=0.5, alpha_over_size=True)
    np.testing.assert_allclose(ours[0], expected, rtol=1e-6)


def test_bfloat16_is_computed_in_float32():
    """bfloat16 inputs are summed in float32 and rounded once."""
    x = jnp.asarray(images(), jnp.bfloat16)
    options = CASES["paper's exponent"]
    ours = local_response_norm(x, **options)
    wide = local_response_norm(x.astype(jnp.float32), **options)
    assert ours.dtype == jnp.bfloat16
    np.testing.assert_array_equal(ours, wide.astype(jnp.bfloat16))
    gradient = jax.grad(lambda x: local_response_norm(x, **options).sum())(x)
    assert gradient.dtype == jnp.bfloat16
