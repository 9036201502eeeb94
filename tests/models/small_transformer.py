"""A small Transformer that compiles in seconds, and sentences."""

import flax
import jax
import jax.numpy as jnp
import numpy as np

from netzoo.models.transformer import Transformer, Variant

VOCABULARY = 11
SMALL = Variant(layers=2, width=16, mlp_dim=32, heads=4, dropout_rate=0.1)
SOURCE = np.array([[3, 9, 4, 1, 7], [5, 2, 0, 0, 0], [8, 8, 6, 2, 0]], np.int32)
TARGET = np.array([[1, 4, 10, 2], [1, 7, 0, 0], [1, 3, 3, 9]], np.int32)


def small(**options):
    """A network that compiles in a second."""
    return Transformer(SMALL, VOCABULARY, **options)


def shapes(model):
    """Return what `init` would, as shapes."""
    return jax.eval_shape(
        lambda key: model.init(key, SOURCE, TARGET, train=False), jax.random.key(0)
    )


def draw(model):
    """Return variables that make every position and token matter."""
    rng = np.random.default_rng(0)
    flat = flax.traverse_util.flatten_dict(shapes(model))
    for path, leaf in flat.items():
        value = rng.normal(size=leaf.shape)
        if path[-1] == "scale":
            value = 1 + 0.1 * value
        elif path[-1] != "bias":
            value *= leaf.shape[-2 if path[-1] == "kernel" else -1] ** -0.5
        flat[path] = jnp.asarray(value, jnp.float32)
    return flax.traverse_util.unflatten_dict(flat)
