"""The endpoints of a network on images: names and shapes, in the order of computation.

All families name their endpoints alike; see `netzoo.layers.endpoints`.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
from chex import ArrayTree

from netzoo.layers import ENDPOINTS
from netzoo.models.summary import example_inputs

_BLOCK = re.compile(r"(.+)/block(\d+)(.*)")
WEIGHTS = "attention_weights"
OTHER_TOKENS = (1, 0, 5)  # a class token, none, or a class token and four registers


def is_square(count: int) -> bool:
    """Return whether this number of patches can form a square."""
    return math.isqrt(count) ** 2 == count


class Layer(NamedTuple):
    """An endpoint of a network on images."""

    name: str  # e.g. `stage3/block2`
    shape: tuple[int, ...]  # without the batch axis
    dtype: str

    @property
    def tokens_before_patches(self) -> int:
        """Number of class and register tokens, without which the tokens form a square."""
        length = self.shape[0] if len(self.shape) == 2 else 0
        counts = (n for n in OTHER_TOKENS if length > n and is_square(length - n))
        return next(counts, 0)

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of the feature map or of the tokens of a square image, or None."""
        if self.name.endswith(WEIGHTS):
            return None
        if len(self.shape) == 3:
            return self.shape[0], self.shape[1]
        if len(self.shape) != 2:
            return None
        patches = self.shape[0] - self.tokens_before_patches
        side = math.isqrt(patches)
        return (side, side) if is_square(patches) else None

    def on_grid(self, values: jax.Array) -> jax.Array:
        """Bring values `[batch, *shape]` to `[batch, rows, columns, channels]`.

        Class and register tokens are dropped. The layer must have a grid.
        """
        if len(self.shape) == 3:
            return values
        assert self.grid is not None
        return values[:, self.tokens_before_patches :].reshape(
            len(values), *self.grid, self.shape[1]
        )


def network_layers(model: nn.Module, variables: ArrayTree, image_size: int) -> list[Layer]:
    """Return the endpoints of a network on square images, in the order of computation."""
    names: list[str] = []

    def endpoints(variables, images):
        state = model.apply(variables, images, train=False, mutable=[ENDPOINTS])[1]
        found = state.get(ENDPOINTS, {})  # a user's network may have no endpoints
        names.extend(found)  # `eval_shape` sorts the names
        return found

    shapes = jax.eval_shape(endpoints, variables, *example_inputs(image_size))
    layers = [Layer(name, shapes[name].shape[1:], str(shapes[name].dtype)) for name in names]
    return sorted(layers, key=lambda layer: _place(layer.name, names))


def _place(name: str, names: Sequence[str]) -> tuple[int, int, bool, str]:
    """Return a key that sorts the outputs of scanned blocks by block."""
    if not (match := _BLOCK.fullmatch(name)):
        return names.index(name), 0, False, ""
    stack, block, output = match.groups()
    first = next(i for i, other in enumerate(names) if other.startswith(f"{stack}/block"))
    return first, int(block), not output, output
