"""Feature maps of several resolutions from any network on images, for detection and segmentation.

pyramid = netzoo.model_features("resnet50", stages=(8, 16, 32))
variables = netzoo.load_weights("resnet50.tv2_in1k", num_classes=0)
fine, middle, coarse = pyramid.apply(variables, images, train=False)
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from netzoo.errors import UserError, unknown_name
from netzoo.layers import collected_endpoints
from netzoo.models.endpoint_shapes import Layer, network_layers
from netzoo.models.registry import create_model, model_entry
from netzoo.models.summary import variable_shapes


class Level(NamedTuple):
    """A feature map of a pyramid."""

    name: str  # of the endpoint, e.g. `stage3/block4`
    channels: int
    stride: int  # pixels of the image per position


class FeaturePyramid(nn.Module):
    """A network that returns feature maps instead of logits.

    The variables are those of the network with `num_classes=0`.

    Attributes:
      network: The network.
      levels: The feature maps, in the order of the results.
    """

    network: nn.Module
    levels: tuple[Level, ...]

    def setup(self) -> None:
        """Keep the paths of the network's variables."""
        nn.share_scope(self, self.network)

    def __call__(self, images: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Map images `[batch, H, W, 3]` to the feature maps `[batch, rows, columns, channels]`.

        Rows and columns are H and W divided by the stride of the level. Tokens are on the grid of
        their patches, without the class token.
        """
        with collected_endpoints() as found:
            self.network(images, train=train)
        return tuple(_on_grid(found[level.name], images, level) for level in self.levels)


def model_features(
    name: str,
    stages: Sequence[int | str] | None = None,
    *,
    image_size: int | None = None,
    **options: Any,
) -> FeaturePyramid:
    """Create a network that returns a pyramid of feature maps.

    Args:
      name: One of `list_models()`, on images.
      stages: Strides, e.g. `(8, 16, 32)`, or names of endpoints, e.g. `("encoder/block6",)`; None
        for all strides. The feature map of a stride is the last one before the classifier and
        before the `head` of MobileNets.
      image_size: Side of the images that the strides are computed for; None for that of the
        published network. Images of other sizes are valid inputs.
      **options: Fields of the family's module, e.g. `width_multiplier=0.75`.

    Returns:
      A Linen module. `pyramid.levels` has the name, channels and stride of each feature map.

    Raises:
      UserError: The network reads text, or the name, an option or a stage is unknown.
    """
    size = model_entry(name).image_size if image_size is None else image_size
    if not size:
        raise UserError(f"{name} reads tokens, not images, and has no feature maps")
    network = create_model(name, num_classes=0, **options)
    layers = network_layers(network, variable_shapes(network, size), size)
    known = {layer.name: _level(layer, size) for layer in layers if layer.grid}
    by_stride = {
        level.stride: level
        for level in known.values()
        if level.name != "head" and not level.name.endswith(("/attention", "/mlp"))
    }
    chosen = sorted(by_stride) if stages is None else stages
    levels = tuple(_find(name, stage, known, by_stride) for stage in chosen)
    return FeaturePyramid(network, levels)


def _find(
    name: str, stage: int | str, known: dict[str, Level], by_stride: dict[int, Level]
) -> Level:
    if isinstance(stage, str):
        if stage not in known:
            raise unknown_name(f"stage of {name}", stage, known)
        return known[stage]
    if stage not in by_stride:
        valid = ", ".join(map(str, sorted(by_stride)))
        raise UserError(f"{name} has no feature map of stride {stage}; strides: {valid}")
    return by_stride[stage]


def _level(layer: Layer, image_size: int) -> Level:
    """Return the level of a layer; its stride is exact or else the nearest power of two."""
    assert layer.grid is not None
    rows = layer.grid[0]
    nearest = 2 ** round(math.log2(image_size / rows))
    stride = image_size // rows if image_size % rows == 0 else nearest
    return Level(layer.name, layer.shape[-1], stride)


def _on_grid(value: jax.Array, images: jax.Array, level: Level) -> jax.Array:
    """Bring tokens `[batch, length, channels]` to `[batch, rows, columns, channels]`."""
    if value.ndim == 4:
        return value
    rows, columns = images.shape[1] // level.stride, images.shape[2] // level.stride
    return value[:, value.shape[1] - rows * columns :].reshape(len(value), rows, columns, -1)
