"""Matrix products of rows, with one bfloat16 pass on CPU if the program asks for it.

With `matmul_precision` `"bfloat16"`, TPUs round both operands to bfloat16 and sum in float32. XLA's
CPU backend ignores this setting. Here the operands are rounded explicitly. Processors with AMX then
multiply several times as fast.
"""

import jax
import jax.numpy as jnp
from jax import lax

from netzoo.kernels.switch import backend

ONE_PASS = "bfloat16"  # the name of this precision, in JAX as in the configuration


def dot(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return `x @ kernel` for `[..., features]` and `[features, classes]` of the same dtype."""
    return _rounded_dot(x, kernel) if rounds(x) else x @ kernel


def rounds(x: jax.Array) -> bool:
    """Return whether `dot` rounds its operands in the program being traced."""
    chosen = jax.default_matmul_precision.value == ONE_PASS
    return chosen and x.dtype == jnp.float32 and backend() == "cpu"


@jax.custom_vjp
def _rounded_dot(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _forward(x, kernel)[0]


def _forward(x, kernel):
    x, kernel = (values.astype(jnp.bfloat16) for values in (x, kernel))
    return _product(x, kernel, x.ndim - 1, 0), (x, kernel)


def _backward(residuals, dy):
    x, kernel = residuals
    dy = dy.astype(jnp.bfloat16)
    rows, d_rows = (values.reshape(-1, values.shape[-1]) for values in (x, dy))
    return _product(dy, kernel, dy.ndim - 1, 1), _product(rows, d_rows, 0, 0)


_rounded_dot.defvjp(_forward, _backward)


def _product(a: jax.Array, b: jax.Array, a_axis: int, b_axis: int) -> jax.Array:
    """Sum the products over one axis of each array, in float32."""
    dimensions = (((a_axis,), (b_axis,)), ((), ()))
    return lax.dot_general(a, b, dimensions, preferred_element_type=jnp.float32)
