"""Chooses a layer: the default, or an endpoint by its name."""

from collections.abc import Sequence

from netzoo.errors import UserError, unknown_name
from netzoo.models.endpoint_shapes import Layer


def default_layer(layers: Sequence[Layer]) -> Layer:
    """Return the last layer where all positions influence the logits.

    In a network with a class token, this is the output of the block before the last: the logits use
    no other token of the last block.

    Raises:
      UserError: No layer has a grid.
    """
    grids = [layer for layer in with_grid(layers) if not layer.name.endswith(("attention", "mlp"))]
    if not grids:
        raise UserError("the network has no endpoint with a grid of positions; see netzoo.layers")
    last = grids[-1]
    return grids[-3] if last.tokens_before_patches and len(grids) > 2 else last


def with_grid(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers with a grid."""
    return [layer for layer in layers if layer.grid]


def find_layer(layers: Sequence[Layer], name: str | None) -> Layer:
    """Return the layer of this name, which must have a grid, or for None the default.

    Raises:
      UserError: The name is unknown, or the layer has no grid.
    """
    if name is None:
        return default_layer(layers)
    known = {layer.name: layer for layer in layers}
    if name not in known:
        raise unknown_name("layer", name, known)
    if not known[name].grid:
        valid = ", ".join(layer.name for layer in with_grid(layers))
        raise UserError(f"{name} has no grid of positions; valid: {valid}")
    return known[name]
