"""VGG: very deep stacks of 3x3 convolutions (Simonyan and Zisserman, arXiv:1409.1556).

Shape contract of `vgg16` at 224x224 pixels (Table 1 of the paper, column D):

    images           [batch, 224, 224, 3]
    stage1/block1-2  [batch, 224, 224, 64]
    stage2/block1-2  [batch, 112, 112, 128]
    stage3/block1-3  [batch, 56, 56, 256]
    stage4/block1-3  [batch, 28, 28, 512]
    stage5/block1-3  [batch, 14, 14, 512]
    hidden1          [batch, 4096]
    pre_logits       [batch, 4096]           hidden2
    logits           [batch, num_classes]

A block is a convolution with a bias, then BatchNorm in the `_bn` networks, then ReLU; a stage ends
with a 2x2 max-pool. Columns A, B, D and E are `vgg11`, `vgg13`, `vgg16` and `vgg19`; column C,
`vgg16_c`, has 1x1 kernels in the third blocks. BatchNorm is torchvision's, not the paper's.

The hidden layers take a 7x7 feature map; adaptive average pooling brings other sizes to 7x7, as in
torchvision.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax

from netzoo.layers import endpoint, max_pool
from netzoo.models.blocks import (
    ConvNet,
    ConvNormAct,
    check_image_size,
    hidden_layers_classifier,
)
from netzoo.models.registry import register

STAGE_CHANNELS = (64, 128, 256, 512, 512)
# Side of the feature map that enters the dense layers.
DENSE_SIDE = 7


class Variant(NamedTuple):
    """One column of Table 1."""

    depths: tuple[int, int, int, int, int]  # convolutions in each stage
    batch_norm: bool = False
    pointwise_third: bool = False  # the third convolution of a stage has a 1x1 kernel


VARIANTS = {
    "vgg11": Variant((1, 1, 2, 2, 2)),
    "vgg11_bn": Variant((1, 1, 2, 2, 2), batch_norm=True),
    "vgg13": Variant((2, 2, 2, 2, 2)),
    "vgg13_bn": Variant((2, 2, 2, 2, 2), batch_norm=True),
    "vgg16": Variant((2, 2, 3, 3, 3)),
    "vgg16_bn": Variant((2, 2, 3, 3, 3), batch_norm=True),
    "vgg16_c": Variant((2, 2, 3, 3, 3), pointwise_third=True),
    "vgg19": Variant((2, 2, 4, 4, 4)),
    "vgg19_bn": Variant((2, 2, 4, 4, 4), batch_norm=True),
}


class VGG(ConvNet, kw_only=True):
    """VGG.

    The padding is fixed, because both conventions are equal at stride 1.

    Attributes besides those of `ConvNet`:
      variant: Depths and kernel sizes of the blocks.
      hidden_features: Width of the two hidden dense layers.
      dropout_rate: Dropout rate after each hidden layer.
    """

    variant: Variant
    hidden_features: int = 4096
    dropout_rate: float = 0.5

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Map images `[batch, H, W, 3]`, H, W >= 32, to float32 logits `[batch, num_classes]`."""
        check_image_size(images, self)
        x, v = images, self.variant
        conv_norm_act = ConvNormAct.of(self, nn.relu, norm=v.batch_norm, use_bias=True)
        for stage, (channels, depth) in enumerate(zip(STAGE_CHANNELS, v.depths, strict=True), 1):
            for block in range(1, depth + 1):
                kernel_size = 1 if v.pointwise_third and block == 3 else 3
                name = f"stage{stage}_block{block}"
                x = conv_norm_act(x, channels, kernel_size, name=name, train=train)
                x = endpoint(self, f"stage{stage}/block{block}", x)
            x = max_pool(x, 2, 2, padding=0)
        return hidden_layers_classifier(self, x, DENSE_SIDE, train=train)


for _name, _variant in VARIANTS.items():
    register(_name, functools.partial(VGG, variant=_variant))
