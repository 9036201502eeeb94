"""The passes and the accuracy of batch statistics in both implementations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo import kernels
from netzoo.kernels.norm import normalize_batch

SCALE, BIAS = jnp.ones(6), jnp.zeros(6)


@pytest.mark.parametrize(("backend", "axes"), [("cpu", 2), ("native", 4)])
def test_images_keep_their_axes_natively(backend, axes):
    """The native program keeps four axes; the CPU program uses a matrix."""
    with kernels.use_backend(backend):
        program = jax.make_jaxpr(lambda x: normalize_batch(x, SCALE, BIAS, 1e-3))(
            jnp.zeros((2, 3, 4, 6))
        )
    assert f"reduce_sum[axes={tuple(range(axes - 1))}" in str(program).replace("\n", "")


@pytest.mark.parametrize(("backend", "tolerance"), [("cpu", 1e-5), ("native", 1e-3)])
def test_variance_beside_a_mean(backend, tolerance):
    """At a mean of 10 deviations, only the one-pass variance loses two digits."""
    x = np.random.default_rng(0).normal(10, 1, (64, 8, 8, 6)).astype(np.float32)
    with kernels.use_backend(backend):
        _, mean, variance = normalize_batch(jnp.asarray(x), SCALE, BIAS, 1e-5)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(variance, exact.var((0, 1, 2)), rtol=tolerance)


def test_a_constant_channel_has_no_negative_variance():
    """Rounding may make the one-pass variance negative; the result must not be NaN."""
    x = jnp.full((8, 7, 7, 6), 0.1)
    with kernels.use_backend("native"):
        y, _, variance = normalize_batch(x, SCALE, BIAS, 0.0001)
    assert (variance >= 0).all() and jnp.isfinite(y).all()
