"""Products whose factors are rounded to bfloat16 on CPU."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.kernels import use_backend, use_precision
from netzoo.kernels.conv import convolve
from netzoo.kernels.dot import dot
from netzoo.kernels.matmul import matmul
from netzoo.kernels.windows import Window

X = jax.random.normal(jax.random.key(0), (2, 5, 24))
KERNEL = jax.random.normal(jax.random.key(1), (24, 7))


def rounded(values):
    return np.asarray(values.astype(jnp.bfloat16), np.float64)


def test_one_pass():
    """The factors are rounded, forward and backward, and the sums and results are float32."""
    with use_precision("bfloat16"):
        y, gradients = jax.vjp(dot, X, KERNEL)
        d_x, d_kernel = gradients(y)
    expected = rounded(X) @ rounded(KERNEL)
    # Sums of 24 products, with values up to 20, in float32.
    close = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(y, expected, **close)
    np.testing.assert_allclose(d_x, rounded(y) @ rounded(KERNEL).T, **close)
    rows = rounded(X).reshape(-1, 24).T @ rounded(y).reshape(-1, 7)
    np.testing.assert_allclose(d_kernel, rows, **close)
    chex.assert_type([y, d_x, d_kernel], jnp.float32)
    assert abs(y - X @ KERNEL).max() > 1e-3  # without rounding, the result is another


@pytest.mark.parametrize(
    ("precision", "backend", "dtype"),
    [
        ("default", "cpu", jnp.float32),
        ("highest", "cpu", jnp.float32),
        ("bfloat16", "native", jnp.float32),
        ("bfloat16", "cpu", jnp.bfloat16),
    ],
)
def test_otherwise_nothing_is_rounded(precision, backend, dtype):
    """Accelerators round themselves, and arrays in bfloat16 are rounded already."""
    with use_precision(precision), use_backend(backend):
        program = jax.make_jaxpr(dot)(X.astype(dtype), KERNEL.astype(dtype))
    assert "convert_element_type" not in str(program)


def test_layers_that_use_it():
    """Dense layers and 1x1 convolutions multiply in bfloat16, larger convolutions in float32."""
    programs = {
        "dense": lambda x: matmul(x, jnp.ones((24, 7))),
        "1x1": lambda x: convolve(x[None], jnp.ones((1, 1, 24, 7)), Window()),
        "patches": lambda x: convolve(x[None], jnp.ones((2, 2, 24, 7)), Window(stride=2)),
        "3x3": lambda x: convolve(x[None], jnp.ones((3, 3, 24, 7)), Window(pads=((1, 1), (1, 1)))),
    }
    with use_precision("bfloat16"), use_backend("cpu"):
        found = {name: "bf16" in str(jax.make_jaxpr(f)(X)) for name, f in programs.items()}
    assert found == {"dense": True, "1x1": True, "patches": True, "3x3": False}
