"""ResNet (He et al., arXiv:1512.03385), ResNeXt and Wide ResNet.

Shape contract of `resnet50` at 224x224 pixels (Table 1 of the paper):

    images     [batch, 224, 224, 3]
    stem       [batch, 56, 56, 64]      7x7, stride 2, then 3x3 max-pool, stride 2
    stage1     [batch, 56, 56, 256]     3 blocks
    stage2     [batch, 28, 28, 512]     4 blocks
    stage3     [batch, 14, 14, 1024]    6 blocks
    stage4     [batch, 7, 7, 2048]      3 blocks
    pre_logits [batch, 2048]            average over space
    logits     [batch, num_classes]

The first bottleneck of stages 2 to 4 halves the image in its 3x3 convolution ("v1.5", as in
torchvision and most published weights), or with `stride_in_first=True` in its first 1x1 convolution
("v1", as in the paper). ResNeXt groups the 3x3 convolution (Xie et al., arXiv:1611.05431); Wide
ResNet doubles its channels (Zagoruyko and Komodakis, arXiv:1605.07146).
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax

from netzoo.layers import Dropout, DropPath, Padding, endpoint, global_avg_pool, max_pool
from netzoo.models.blocks import (
    ConvNet,
    ConvNormAct,
    check_image_size,
    classifier,
    drop_path_rates,
    trunk,
)
from netzoo.models.registry import register

STAGE_CHANNELS = (64, 128, 256, 512)
BOTTLENECK_EXPANSION = 4


class Variant(NamedTuple):
    """One column of Table 1."""

    depths: tuple[int, int, int, int]  # blocks in each stage
    bottleneck: bool  # blocks of 1x1, 3x3 and 1x1 instead of two 3x3 convolutions
    groups: int = 1  # of the 3x3 convolutions
    group_width: int = 64  # channels of one group in stage 1


VARIANTS = {
    "resnet18": Variant((2, 2, 2, 2), False),
    "resnet34": Variant((3, 4, 6, 3), False),
    "resnet50": Variant((3, 4, 6, 3), True),
    "resnet101": Variant((3, 4, 23, 3), True),
    "resnet152": Variant((3, 8, 36, 3), True),
    "resnext50_32x4d": Variant((3, 4, 6, 3), True, 32, 4),
    "resnext101_32x8d": Variant((3, 4, 23, 3), True, 32, 8),
    "wide_resnet50_2": Variant((3, 4, 6, 3), True, 1, 128),
    "wide_resnet101_2": Variant((3, 4, 23, 3), True, 1, 128),
}


class ResidualBlock(nn.Module):
    """A residual block (Figure 5 of the paper)."""

    conv_norm_act: ConvNormAct
    features: int  # channels of the output
    bottleneck: int | None  # channels between the 1x1 convolutions; None for a block of two 3x3
    groups: int = 1  # of the bottleneck's 3x3 convolution
    stride_in_first: bool = False  # halve the image in the first convolution of a bottleneck
    zero_init_last_norm: bool = False  # start the residual branch at 0
    drop_rate: float = 0.0  # probability of dropping the branch of an example in training
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H / stride, W / stride, features]`."""
        first, second = (self.stride, 1) if self.stride_in_first else (1, self.stride)
        if self.bottleneck:
            layers = [(self.bottleneck, 1, first, 1), (self.bottleneck, 3, second, self.groups),
                      (self.features, 1, 1, 1)]  # fmt: skip
        else:
            layers = [(self.features, 3, self.stride, 1), (self.features, 3, 1, 1)]
        y, (conv, norm, activation) = x, self.conv_norm_act
        assert norm is not None  # every convolution of a residual block has one
        for index, (features, kernel_size, stride, groups) in enumerate(layers, start=1):
            options = {"stride": stride, "groups": groups, "name": f"conv{index}"}
            y = conv(features, kernel_size, **options)(y)
            last = index == len(layers)
            zero = last and self.zero_init_last_norm
            init = nn.initializers.zeros if zero else nn.initializers.ones
            y = norm(scale_init=init, name=f"norm{index}")(y, train=train)
            y = y if last else activation(y)
        if x.shape != y.shape:
            x = self.conv_norm_act.linear(
                x, self.features, 1, stride=self.stride, name="shortcut", train=train
            )
        # The name seeds the masks; another name would change them in a continued run.
        drop_path = DropPath(self.drop_rate, name="StochasticDepth_0")
        return activation(x + drop_path(y, train=train))


class ResNet(ConvNet, kw_only=True):
    """ResNet, ResNeXt and Wide ResNet.

    Attributes besides those of `ConvNet`:
      variant: Depths and widths.
      stride_in_first: Whether bottlenecks halve the image in their first convolution ("v1").
      zero_init_last_norm: Whether to initialise every residual branch to 0 (Goyal et al.,
        arXiv:1706.02677, section 5.1).
      dropout_rate: Dropout rate before the logits.
      drop_path_rate: Drop path rate of the last block; earlier blocks have linearly lower rates
        (stochastic depth; Huang et al., arXiv:1603.09382).
      padding: Padding convention; see `netzoo.kernels.padding`.
    """

    variant: Variant
    stride_in_first: bool = False
    zero_init_last_norm: bool = False
    dropout_rate: float = 0.0
    drop_path_rate: float = 0.0
    padding: Padding = "torch"

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Map images `[batch, H, W, 3]`, H, W >= 32, to float32 logits `[batch, num_classes]`."""
        check_image_size(images, self)
        v, conv_norm_act = self.variant, ConvNormAct.of(self, nn.relu)
        block = functools.partial(
            ResidualBlock,
            conv_norm_act,
            groups=v.groups,
            stride_in_first=self.stride_in_first,
            zero_init_last_norm=self.zero_init_last_norm,
        )
        drop_rates = iter(drop_path_rates(self.drop_path_rate, sum(v.depths)))
        stages = []
        for stage, (channels, depth) in enumerate(zip(STAGE_CHANNELS, v.depths, strict=True)):
            if v.bottleneck:
                width = channels * v.group_width * v.groups // 64
                channels *= BOTTLENECK_EXPANSION
            make = functools.partial(block, channels, width if v.bottleneck else None)
            blocks = [functools.partial(make, drop_rate=next(drop_rates)) for _ in range(depth)]
            stages.append((2 if stage else 1, blocks))

        x = conv_norm_act(images, 64, 7, stride=2, name="stem", train=train)
        x = endpoint(self, "stem", max_pool(x, 3, 2, padding=self.padding))
        x = global_avg_pool(trunk(self, x, stages, train=train))
        # As in torchvision: uniform within 1 / sqrt(fan in).
        init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        return classifier(self, x, Dropout(self.dropout_rate), init, train=train)


for _name, _variant in VARIANTS.items():
    register(_name, functools.partial(ResNet, variant=_variant))
