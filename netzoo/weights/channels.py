"""Weights for images of another number of channels."""

import flax.traverse_util
import numpy as np
from chex import ArrayTree

from netzoo.errors import UserError

_RGB = 3


def adapt_channels(variables: ArrayTree, channels: int) -> ArrayTree:
    """Adapt weights for RGB images to images of another number of channels.

    For one channel, the kernels of the first convolution are summed over red, green and blue. A
    grey image then gives the same logits as an RGB image with three equal channels. For other
    numbers, the kernels of red, green and blue are repeated in this order and multiplied by
    `3 / channels`, so that the outputs of the convolution keep their scale. timm's `in_chans` does
    the same.

    Networks accept any number of channels: `model.apply(adapt_channels(variables, 4), images,
    train=False)` reads images `[batch, height, width, 4]`. Their normalisation is up to the caller.

    Args:
      variables: Variables of a network for images of three channels.
      channels: The new number of channels, at least 1.

    Returns:
      The variables with other kernels in the first convolution, as float32 NumPy arrays.

    Raises:
      UserError: `channels` is less than 1, or no convolution reads three channels.
    """
    if channels < 1:
        raise UserError(f"expected at least 1 channel, got {channels}")
    flat = flax.traverse_util.flatten_dict(variables)
    readers = [path for path, x in flat.items() if x.ndim == 4 and x.shape[2] == _RGB]
    if not readers:
        raise UserError("the network has no kernels of three channels; expected one on RGB images")
    for path in readers:
        kernel = np.asarray(flat[path], np.float32)  # [height, width, 3, out]
        if channels == 1:
            flat[path] = kernel.sum(2, keepdims=True)
        elif channels != _RGB:
            repeated = kernel[:, :, np.arange(channels) % _RGB]
            flat[path] = repeated * np.float32(_RGB / channels)
    return flax.traverse_util.unflatten_dict(flat)
