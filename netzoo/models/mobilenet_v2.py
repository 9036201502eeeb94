"""MobileNetV2: inverted residuals and linear bottlenecks (Sandler et al., arXiv:1801.04381).

Shape contract at width 1.0 and 224x224 pixels (Table 2 of the paper; t expansion, c channels,
n repeats, s stride of the first repeat):

    images    [batch, 224, 224, 3]
    stem      [batch, 112, 112, 32]     3x3, stride 2
    stage1    [batch, 112, 112, 16]     t 1, n 1, s 1
    stage2    [batch, 56, 56, 24]       t 6, n 2, s 2
    stage3    [batch, 28, 28, 32]       t 6, n 3, s 2
    stage4    [batch, 14, 14, 64]       t 6, n 4, s 2
    stage5    [batch, 14, 14, 96]       t 6, n 3, s 1
    stage6    [batch, 7, 7, 160]        t 6, n 3, s 2
    stage7    [batch, 7, 7, 320]        t 6, n 1, s 1
    head      [batch, 7, 7, 1280]       1x1
    pre_logits [batch, 1280]            average over space
    logits    [batch, num_classes]

The last layer of a block is linear: no activation follows the projection (section 3.2). A block
with expansion 1 has no expanding convolution. Width multipliers above 1 widen the head; those below
1 do not narrow it (section 4.1, "width multiplier").

`mobilenet_v2_110d` and `mobilenet_v2_120d` are timm's wider and deeper networks. Their depth
multiplier lengthens the stages 2 to 6, and their stem and head keep 32 and 1280 channels.
"""

import functools
import math
from typing import NamedTuple

import flax.linen as nn
import jax

from netzoo.layers import Dropout, Padding, endpoint, global_avg_pool
from netzoo.models.blocks import (
    ConvNet,
    ConvNormAct,
    InvertedResidual,
    check_image_size,
    classifier,
    drop_path_rates,
    scale_channels,
    trunk,
)
from netzoo.models.registry import register


class Stage(NamedTuple):
    """One row of Table 2."""

    expansion: int
    channels: int
    blocks: int
    stride: int


STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280


class MobileNetV2(ConvNet, kw_only=True):
    """MobileNetV2.

    Attributes besides those of `ConvNet`:
      width_multiplier: Factor on every channel count (section 4.1).
      depth_multiplier: Factor on the number of blocks in the stages 2 to 6, which is rounded up.
      fixed_ends: Whether stem and head keep their channels whatever the width, as in timm's
        `mobilenetv2_110d` and `_120d`.
      dropout_rate: Dropout rate before the logits.
      drop_path_rate: Drop path rate at the last block; earlier blocks have linearly lower rates.
        Only blocks with a shortcut have a drop path, as in timm.
      padding: Padding convention; see `netzoo.kernels.padding`.
      norm_epsilon: BatchNorm's epsilon: 1e-5 in torchvision, 1e-3 in Keras.
    """

    width_multiplier: float = 1.0
    depth_multiplier: float = 1.0
    fixed_ends: bool = False
    dropout_rate: float = 0.2
    drop_path_rate: float = 0.0
    padding: Padding = "torch"
    norm_epsilon: float = 1e-5

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Map images `[batch, H, W, 3]`, H, W >= 32, to float32 logits `[batch, num_classes]`."""
        check_image_size(images, self)
        conv_norm_act = ConvNormAct.of(self, nn.relu6)
        channels = functools.partial(scale_channels, width_multiplier=self.width_multiplier)
        width_of_ends = 1.0 if self.fixed_ends else self.width_multiplier
        block = functools.partial(InvertedResidual, conv_norm_act)
        depths = self.depths()
        drop_rates = iter(drop_path_rates(self.drop_path_rate, sum(depths)))
        stages = []
        for s, depth in zip(STAGES, depths, strict=True):
            make = functools.partial(block, channels(s.channels), s.expansion)
            blocks = [functools.partial(make, drop_rate=next(drop_rates)) for _ in range(depth)]
            stages.append((s.stride, blocks))
        stem = scale_channels(STEM_CHANNELS, width_of_ends)
        x = conv_norm_act(images, stem, 3, stride=2, name="stem", train=train)
        x = trunk(self, endpoint(self, "stem", x), stages, train=train)
        head = scale_channels(HEAD_CHANNELS, max(1.0, width_of_ends))
        x = endpoint(self, "head", conv_norm_act(x, head, 1, name="head", train=train))
        dropout, init = Dropout(self.dropout_rate), nn.initializers.normal(0.01)
        return classifier(self, global_avg_pool(x), dropout, init, train=train)

    def depths(self) -> list[int]:
        """Return the number of blocks in each stage."""
        first, *middle, last = (stage.blocks for stage in STAGES)
        return [first, *(math.ceil(depth * self.depth_multiplier) for depth in middle), last]


for _width in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4):
    register(
        "mobilenet_v2" if _width == 1 else f"mobilenet_v2_{round(100 * _width):03d}",
        functools.partial(MobileNetV2, width_multiplier=_width),
    )
for _name, _width, _depth in (("110d", 1.1, 1.2), ("120d", 1.2, 1.4)):
    register(
        f"mobilenet_v2_{_name}",
        functools.partial(
            MobileNetV2, width_multiplier=_width, depth_multiplier=_depth, fixed_ends=True
        ),
    )
