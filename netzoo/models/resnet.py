"""ResNet and its wider relatives (He et al., arXiv:1512.03385).

Shape contract of `resnet50` at 224x224 pixels (Table 1 of the paper):

    images     [batch, 224, 224, 3]
    stem       [batch, 56, 56, 64]      7x7, stride 2, then 3x3 max-pool, stride 2
    stage1     [batch, 56, 56, 256]     3 blocks
    stage2     [batch, 28, 28, 512]     4 blocks
    stage3     [batch, 14, 14, 1024]    6 blocks
    stage4     [batch, 7, 7, 2048]      3 blocks
    pre_logits [batch, 2048]            average over space
    logits     [batch, num_classes]

A bottleneck that halves the image does so in its 3x3 convolution ("v1.5", torchvision's and most
published weights); with `stride_in_first=True` in the first 1x1 ("v1", the paper's). ResNeXt
groups the 3x3 convolution (Xie et al., arXiv:1611.05431), Wide ResNet doubles its channels
(Zagoruyko and Komodakis, arXiv:1605.07146).
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from netzoo.layers import Dropout, DropPath, Padding, endpoint, global_avg_pool, max_pool
from netzoo.models.common import check_image_size, conv_for, norm_for
from netzoo.models.registry import register

STAGE_CHANNELS = (64, 128, 256, 512)
BOTTLENECK_EXPANSION = 4
# Below, the last stage, 1/32 of the image, is a single pixel and its 3x3 sees only padding.
MIN_IMAGE_SIZE = 32


class Variant(NamedTuple):
    """One column of Table 1.

    Attributes:
      depths: Blocks in each stage.
      bottleneck: 1x1, 3x3, 1x1 blocks rather than two 3x3.
      groups: Of the 3x3 convolutions.
      group_width: Channels of one group in stage 1.
    """

    depths: tuple[int, int, int, int]
    bottleneck: bool
    groups: int = 1
    group_width: int = 64


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


class Block(nn.Module):
    """Residual block (Figure 5 of the paper); `hidden` is 0 for the basic one."""

    features: int
    hidden: int
    groups: int
    stride: int
    stride_in_first: bool
    drop_rate: float
    conv: type[nn.Module]
    norm: type[nn.Module]
    last_scale: nn.initializers.Initializer

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, H, W, C]` to `[batch, H / stride, W / stride, features]`."""
        first, second = (self.stride, 1) if self.stride_in_first else (1, self.stride)
        if self.hidden:
            layers = ((self.hidden, 1, first, 1), (self.hidden, 3, second, self.groups),
                      (self.features, 1, 1, 1))  # fmt: skip
        else:
            layers = ((self.features, 3, self.stride, 1), (self.features, 3, 1, 1))
        y = x
        for index, (features, kernel, stride, groups) in enumerate(layers, start=1):
            last = index == len(layers)
            y = self.conv(features, kernel, stride=stride, groups=groups, name=f"conv{index}")(y)
            init = self.last_scale if last else nn.initializers.ones
            y = self.norm(scale_init=init, name=f"norm{index}")(y, train=train)
            y = y if last else nn.relu(y)
        if x.shape != y.shape:
            x = self.conv(self.features, 1, stride=self.stride, name="shortcut")(x)
            x = self.norm(name="shortcut_norm")(x, train=train)
        # The name seeds the masks: with another one a resumed run would draw others.
        drop_path = DropPath(self.drop_rate, name="StochasticDepth_0")
        return nn.relu(x + drop_path(y, train=train))


class ResNet(nn.Module):
    """ResNet, ResNeXt and Wide ResNet.

    Attributes:
      variant: Depths and widths.
      num_classes: Length of the logits; 0 returns the pooled features.
      stride_in_first: Halve the image in the first convolution of a bottleneck ("v1").
      zero_init_last_norm: Start every residual branch at 0 (Goyal et al., arXiv:1706.02677,
        section 5.1).
      dropout_rate: Dropout before the logits.
      drop_path_rate: Of the last block; earlier ones less, in proportion to their place.
      padding: Padding convention, see `netzoo.kernels.padding`.
      norm_momentum: Decay of BatchNorm's running statistics.
      norm_epsilon: BatchNorm's epsilon.
      dtype: Compute type; parameters, statistics and logits are float32.
    """

    variant: Variant
    num_classes: int = 1000
    stride_in_first: bool = False
    zero_init_last_norm: bool = False
    dropout_rate: float = 0.0
    drop_path_rate: float = 0.0
    padding: Padding = "torch"
    norm_momentum: float = 0.9
    norm_epsilon: float = 1e-5
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images `[batch, height, width, 3]` to float32 logits `[batch, num_classes]`.

        Raises:
          UserError: The image is smaller than 32 pixels.
        """
        check_image_size(images, MIN_IMAGE_SIZE, self)
        conv, norm = conv_for(self), norm_for(self)
        zeros, ones = nn.initializers.zeros, nn.initializers.ones

        x = conv(64, 7, stride=2, name="stem")(images)
        x = nn.relu(norm(name="stem_norm")(x, train=train))
        x = endpoint(self, "stem", max_pool(x, 3, 2, padding=self.padding))
        v = self.variant
        done, total = 0, sum(v.depths)
        for stage, (channels, depth) in enumerate(zip(STAGE_CHANNELS, v.depths, strict=True)):
            for block in range(depth):
                x = Block(
                    features=channels * (BOTTLENECK_EXPANSION if v.bottleneck else 1),
                    hidden=channels * v.group_width * v.groups // 64 if v.bottleneck else 0,
                    groups=v.groups,
                    stride=2 if stage and not block else 1,
                    stride_in_first=self.stride_in_first,
                    drop_rate=self.drop_path_rate * done / max(total - 1, 1),
                    conv=conv,
                    norm=norm,
                    last_scale=zeros if self.zero_init_last_norm else ones,
                    name=f"stage{stage + 1}_block{block + 1}",
                )(x, train=train)
                endpoint(self, f"stage{stage + 1}/block{block + 1}", x)
                done += 1
        x = endpoint(self, "pre_logits", global_avg_pool(x))
        if self.num_classes == 0:
            return x
        x = Dropout(self.dropout_rate)(x, train=train)
        # torchvision's: uniform within 1 / sqrt(fan in).
        init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        return nn.Dense(self.num_classes, kernel_init=init, name="logits")(x)


for _name, _variant in VARIANTS.items():
    register(_name, functools.partial(ResNet, _variant))
