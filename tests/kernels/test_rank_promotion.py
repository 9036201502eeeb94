"""Operations and their gradients write out their broadcasts.

JAX_NUMPY_RANK_PROMOTION=raise, a setting of some users, refuses implicit ones.
"""

import jax
import jax.numpy as jnp
import pytest

from netzoo import kernels
from netzoo.kernels.conv import convolve
from netzoo.kernels.local_response_norm import local_response_norm
from netzoo.kernels.matmul import affine
from netzoo.kernels.norm import normalize_batch, normalize_groups
from netzoo.kernels.windows import Window

X = jnp.ones((2, 8, 8, 16))
CHANNELS = jnp.ones(16)
PADDED = Window(1, ((1, 1), (1, 1)))
OPERATIONS = {
    "depthwise": lambda x, c: convolve(x, jnp.tile(c, (3, 3, 1, 1)), PADDED, 16),
    "grouped": lambda x, c: convolve(x, jnp.ones((3, 3, 4, 16)), PADDED, 4),
    "dense": lambda x, c: convolve(x, jnp.ones((3, 3, 16, 16)), PADDED),
    "batch norm": lambda x, c: normalize_batch(x, c, c, 1e-5)[0],
    "group norm": lambda x, c: normalize_groups(x, c, c, 4, 1e-5),
    "affine": lambda x, c: affine(x, [(jnp.ones((16, 16)), c)] * 2)[0],
    "response norm": lambda x, c: local_response_norm(x),
}


@pytest.mark.parametrize("backend", ["cpu", "native"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_no_implicit_broadcast(name, backend):
    """Protects users with the setting from an error inside an operation or its gradient."""

    def loss(x, channels):
        return OPERATIONS[name](x, channels).sum()

    operation = jax.grad(loss, argnums=(0, 1))
    with kernels.use_backend(backend), jax.numpy_rank_promotion("raise"):
        jax.eval_shape(operation, X, CHANNELS)
