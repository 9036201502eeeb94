"""AlexNet as published (Krizhevsky et al., NeurIPS 2012), and with one tower (arXiv:1404.5997).

Shape contract of `alexnet` at 227x227 pixels (Figure 2 of the 2012 paper, both GPUs together):

    images           [batch, 227, 227, 3]
    stem             [batch, 27, 27, 96]     11x11, stride 4; then pooled
    stage1/block1    [batch, 13, 13, 256]    5x5; then pooled
    stage2/block1    [batch, 13, 13, 384]    3x3
    stage3/block1    [batch, 13, 13, 384]    3x3
    stage4/block1    [batch, 6, 6, 256]      3x3; then pooled
    hidden1          [batch, 4096]
    pre_logits       [batch, 4096]           hidden2
    logits           [batch, num_classes]

ReLU follows every layer. Local response normalisation follows the ReLU of the first two
convolutions, before pooling (section 3.3). Pools are 3x3 with stride 2, so they overlap (section
3.4). The second, fourth and fifth convolutions have two groups, one per GPU in the paper.

The paper states 224 pixels, but its layers need 227: the first convolution, 11 pixels wide with
stride 4 and no padding, has 55 output positions. This module pads every image with zeros to the
next size 4 n + 3. If the number of added rows or columns is odd, the extra one is at the top or
left. An image of 224 pixels becomes 227 pixels, with the same result as the usual padding of 2.
Adaptive average pooling brings feature maps of other sizes to 6x6.

`alexnet_owt` is the network of "One weird trick", as in torchvision: 64, 192, 384, 256 and 256
channels, no groups, no response normalisation, and dropout before instead of after each hidden
layer. Its stem always pads by 2, so that 224 pixels become 55, 27, 13 and 6.
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from netzoo.layers import Conv, Pads, endpoint, local_response_norm, max_pool
from netzoo.models.blocks import (
    TORCH_KERNEL,
    BiasInit,
    check_image_size,
    hidden_layers_classifier,
    torch_bias,
    zero_bias,
)
from netzoo.models.registry import register

# At 64 pixels, the three pools receive 15, 7 and 3 pixels; `alexnet_owt` would also run at 63.
MIN_IMAGE_SIZE = 64
STEM_STRIDE = 4
# Side of the feature map that enters the dense layers.
DENSE_SIDE = 6


class Variant(NamedTuple):
    """The differences between the two networks."""

    channels: tuple[int, int, int, int, int]
    groups: int  # of the convolutions that the paper divides between two GPUs
    response_norm: bool
    stem_padding: int | None  # zeros on every side of the image; None pads to `4 n + 3`
    dropout_first: bool  # before the hidden layers rather than after
    kernel_init: nn.initializers.Initializer
    bias_init: BiasInit  # of the second, fourth and fifth convolutions and of hidden layers
    other_bias_init: BiasInit  # of the other layers


def _one_bias(inputs: int) -> nn.initializers.Initializer:
    del inputs
    return nn.initializers.ones


# Section 5 of the paper: normal with standard deviation 0.01, and biases of 1 before the ReLUs.
TWO_GPUS = Variant(
    *((96, 256, 384, 384, 256), 2, True, None, False),
    *(nn.initializers.normal(0.01), _one_bias, zero_bias),
)
# torchvision leaves PyTorch's own initializers.
ONE_TOWER = Variant(
    *((64, 192, 384, 256, 256), 1, False, 2, True),
    *(TORCH_KERNEL, torch_bias, torch_bias),
)


class AlexNet(nn.Module):
    """AlexNet as published or with one tower.

    The padding is fixed, because no published weights use another.

    Attributes:
      variant: `TWO_GPUS`, the paper's network, or `ONE_TOWER`.
      num_classes: Length of the logits; 0 returns the features before them.
      hidden_features: Width of the two hidden dense layers.
      dropout_rate: Dropout rate of the two hidden dense layers.
      dtype: Compute dtype; parameters and logits are float32.
    """

    variant: Variant
    num_classes: int = 1000
    hidden_features: int = 4096
    dropout_rate: float = 0.5
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Map images `[batch, H, W, 3]`, H, W >= 64, to float32 logits `[batch, num_classes]`."""
        check_image_size(images, self, MIN_IMAGE_SIZE)
        x, v = images, self.variant
        conv = functools.partial(Conv, use_bias=True, dtype=self.dtype, kernel_init=v.kernel_init)
        pads = _stem_pads(images.shape[1:3], v.stem_padding)
        stem: dict[str, Any] = {"stride": STEM_STRIDE, "padding": pads}
        # Kernel size, and whether the layer was divided between the two GPUs of 2012.
        layers = {
            "stem": (11, False),
            "stage1_block1": (5, True),
            "stage2_block1": (3, False),
            "stage3_block1": (3, True),
            "stage4_block1": (3, True),
        }
        for channels, (name, (size, divided)) in zip(v.channels, layers.items(), strict=True):
            groups = v.groups if divided else 1
            bias_init = v.bias_init if divided else v.other_bias_init
            options: dict[str, Any] = {
                "groups": groups,
                "bias_init": bias_init(size**2 * x.shape[-1] // groups),
            }
            options |= stem if name == "stem" else {}
            x = nn.relu(conv(channels, size, name=name, **options)(x))
            if v.response_norm and name in ("stem", "stage1_block1"):
                x = local_response_norm(x)
            if name in ("stem", "stage1_block1", "stage4_block1"):
                x = max_pool(x, 3, 2, padding=0)
            x = endpoint(self, name.replace("_", "/"), x)
        return hidden_layers_classifier(
            self,
            x,
            DENSE_SIDE,
            kernel_init=v.kernel_init,
            bias_init=v.bias_init,
            logits_bias_init=v.other_bias_init,
            dropout_first=v.dropout_first,
            train=train,
        )


def _stem_pads(image_size: tuple[int, ...], padding: int | None) -> Pads:
    if padding is not None:
        return ((padding, padding),) * 2
    totals = [(3 - size) % STEM_STRIDE for size in image_size]
    return tuple((total - total // 2, total // 2) for total in totals)


register("alexnet", functools.partial(AlexNet, TWO_GPUS), image_size=227)
register("alexnet_owt", functools.partial(AlexNet, ONE_TOWER))
