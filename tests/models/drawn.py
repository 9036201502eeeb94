"""Random variables of a network from NumPy, because compiling `init` is slow."""

import flax
import jax.numpy as jnp
import numpy as np


def drawn(shapes):
    """Return He-normal kernels, scales and variances of 1, and zeros, in these shapes."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1] == "kernel":
            values = rng.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))
            return jnp.asarray(values, jnp.float32)
        return (jnp.ones if path[-1] in ("scale", "var") else jnp.zeros)(leaf.shape)

    return flax.traverse_util.path_aware_map(draw, shapes)
