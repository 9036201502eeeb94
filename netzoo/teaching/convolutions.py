"""The convolutions of a network, with their shapes and costs."""

import math
from typing import NamedTuple

import flax.linen as nn

from netzoo.layers import Conv
from netzoo.models.summary import variable_shapes


class Convolution(NamedTuple):
    """A convolution of a network, for one image.

    Attributes:
      name: Its path, such as `stage1_block1/depthwise`.
      inputs: `[height, width, channels]`.
      outputs: `[height', width', features]`.
      kernel_size: Taps along each axis.
      stride: Step between outputs, in pixels.
      groups: Groups that the channels are split into.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    kernel_size: int
    stride: int
    groups: int

    @property
    def multiply_adds(self) -> int:
        """The number of multiply-adds, borders included."""
        return math.prod(self.outputs) * self.kernel_size**2 * self.inputs[-1] // self.groups


def convolutions(model: nn.Module, image_size: int) -> list[Convolution]:
    """Return the convolutions of a network on a square image, in the order of computation."""
    found = []

    def note(call, args, kwargs, context):
        y, conv = call(*args, **kwargs), context.module
        if isinstance(conv, Conv) and context.method_name == "__call__":
            shapes = args[0].shape[1:], y.shape[1:]
            settings = conv.kernel_size, conv.stride, conv.groups
            found.append(Convolution("/".join(conv.path), *shapes, *settings))
        return y

    with nn.intercept_methods(note):
        variable_shapes(model, image_size)
    return found
