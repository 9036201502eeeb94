"""MobileNet V1: depthwise separable convolutions (Howard et al., arXiv:1704.04861).

Shape contract at width 1.0 and 224x224 pixels (Table 1 of the paper). A block is a 3x3 depthwise
and a 1x1 convolution; a stage is a run of blocks at one resolution, and its first block halves the
image:

    images     [batch, 224, 224, 3]
    stem       [batch, 112, 112, 32]    3x3, stride 2
    stage1     [batch, 112, 112, 64]    1 block, stride 1
    stage2     [batch, 56, 56, 128]     2 blocks
    stage3     [batch, 28, 28, 256]     2 blocks
    stage4     [batch, 14, 14, 512]     6 blocks
    stage5     [batch, 7, 7, 1024]      2 blocks
    head       [batch, 7, 7, 1024]      1x1; only in `mobilenet_v1_100h`
    pre_logits [batch, 1024]            average over space
    logits     [batch, num_classes]

Table 1 prints stride 2 for the last depthwise convolution, but it maps 7x7 to 7x7, so its stride is
1. The paper has ReLU after every BatchNorm. Published weights (TF-slim, Keras, timm) were trained
with ReLU6, so this module uses ReLU6. To apply the paper's resolution multiplier, change the image
size. The width 1.25 and the head are timm's.

The paper does not describe the initialisation. Here, depthwise kernels follow torchvision's rule
for MobileNetV2: He et al. (arXiv:1502.01852) with the fan-out of all channels. timm uses the
fan-out of one channel, which gives kernels that are larger by the square root of the number of
channels. TF-slim draws all kernels with standard deviation 0.09. BatchNorm removes the scale from
the output, but not from the effective learning rate.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax

from netzoo.layers import Dropout, Padding, endpoint, global_avg_pool
from netzoo.models.blocks import (
    ConvNet,
    ConvNormAct,
    check_image_size,
    classifier,
    trunk,
)
from netzoo.models.registry import register


class Stage(NamedTuple):
    """Consecutive rows of Table 1 at one resolution."""

    channels: int
    blocks: int
    stride: int


STAGES = (Stage(64, 1, 1), Stage(128, 2, 2), Stage(256, 2, 2), Stage(512, 6, 2), Stage(1024, 2, 2))
STEM_CHANNELS = 32
MIN_CHANNELS = 8


def thin_channels(channels: int, width_multiplier: float) -> int:
    """Return `channels * width_multiplier` truncated to an integer, at least 8, as TF-slim does.

    Unlike in MobileNetV2 and V3, the result need not be a multiple of 8.
    """
    return max(int(channels * width_multiplier), MIN_CHANNELS)


class SeparableBlock(nn.Module):
    """A 3x3 depthwise convolution, then a 1x1 convolution (section 3.1, Figure 3 right)."""

    conv_norm_act: ConvNormAct
    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H / stride, W / stride, features]`."""
        channels = x.shape[-1]
        depthwise = {"stride": self.stride, "groups": channels, "name": "depthwise"}
        x = self.conv_norm_act(x, channels, 3, **depthwise, train=train)
        return self.conv_norm_act(x, self.features, 1, name="pointwise", train=train)


class MobileNetV1(ConvNet, kw_only=True):
    """MobileNet V1.

    Attributes besides those of `ConvNet`:
      width_multiplier: Factor on every channel count (section 3.3).
      head_channels: Channels of a 1x1 convolution before the average over space; None omits it, as
        in the paper. 1024 in timm's `mobilenetv1_100h`.
      dropout_rate: Dropout rate before the logits; TF-slim's keep probability is 0.999.
      padding: Padding convention; see `netzoo.kernels.padding`.
      norm_epsilon: BatchNorm's epsilon: 1e-3 in TF-slim and Keras, 1e-5 in timm.
    """

    width_multiplier: float = 1.0
    head_channels: int | None = None
    dropout_rate: float = 0.001
    padding: Padding = "torch"
    norm_epsilon: float = 1e-3

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Map images `[batch, H, W, 3]`, H, W >= 32, to float32 logits `[batch, num_classes]`."""
        check_image_size(images, self)
        conv_norm_act = ConvNormAct.of(self, nn.relu6)
        channels = functools.partial(thin_channels, width_multiplier=self.width_multiplier)
        block = functools.partial(SeparableBlock, conv_norm_act)
        stages = [
            (s.stride, s.blocks * [functools.partial(block, channels(s.channels))]) for s in STAGES
        ]
        x = conv_norm_act(images, channels(STEM_CHANNELS), 3, stride=2, name="stem", train=train)
        x = trunk(self, endpoint(self, "stem", x), stages, train=train)
        if self.head_channels is not None:
            x = conv_norm_act(x, self.head_channels, 1, name="head", train=train)
            x = endpoint(self, "head", x)
        dropout, init = Dropout(self.dropout_rate), nn.initializers.normal(0.01)
        return classifier(self, global_avg_pool(x), dropout, init, train=train)


for _width in (0.25, 0.5, 0.75, 1.0, 1.25):
    register(
        "mobilenet_v1" if _width == 1 else f"mobilenet_v1_{round(100 * _width):03d}",
        functools.partial(MobileNetV1, width_multiplier=_width),
    )
register("mobilenet_v1_100h", functools.partial(MobileNetV1, head_channels=1024))
