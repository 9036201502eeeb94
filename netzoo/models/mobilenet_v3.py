"""MobileNetV3: searched blocks, squeeze-excite and hard-swish (Howard et al., arXiv:1905.02244).

Shape contract at width 1.0 and 224x224 pixels (Tables 1 and 2 of the paper). A stage is a run of
blocks with the same number of channels; SE is squeeze-excite, RE is ReLU, HS is hard-swish:

                mobilenet_v3_large                      mobilenet_v3_small
    images      [batch, 224, 224, 3]                    [batch, 224, 224, 3]
    stem        [batch, 112, 112, 16]  3x3, HS          [batch, 112, 112, 16]  3x3, HS
    stage1      [batch, 112, 112, 16]  1, 3x3, RE       [batch, 56, 56, 16]    1, 3x3, SE, RE
    stage2      [batch, 56, 56, 24]    2, 3x3, RE       [batch, 28, 28, 24]    2, 3x3, RE
    stage3      [batch, 28, 28, 40]    3, 5x5, SE, RE   [batch, 14, 14, 40]    3, 5x5, SE, HS
    stage4      [batch, 14, 14, 80]    4, 3x3, HS       [batch, 14, 14, 48]    2, 5x5, SE, HS
    stage5      [batch, 14, 14, 112]   2, 3x3, SE, HS   [batch, 7, 7, 96]      3, 5x5, SE, HS
    stage6      [batch, 7, 7, 160]     3, 5x5, SE, HS
    head        [batch, 7, 7, 960]     1x1, HS          [batch, 7, 7, 576]     1x1, HS
    pre_logits  [batch, 1280]                           [batch, 1024]
    logits      [batch, num_classes]                    [batch, num_classes]

`pre_logits` is the output of a dense layer with bias and HS, without BatchNorm, after the average
over space (section 5.1). One version of Table 2 prints 1280 for V3-Small, and squeeze-excite in its
head. The published networks and the paper's parameter count have 1024 and no squeeze-excite.

The minimalistic networks of the authors' code omit squeeze-excite, and have ReLU instead of
hard-swish and 3x3 instead of 5x5 kernels.

The width multiplier scales the channels of the stages and the head. The expansion factors multiply
the scaled channels, and the stem stays at 16 channels. Width multipliers below 1 do not narrow
`pre_logits`, as in the published weights of width 0.75 (TF-slim, Keras, timm) and 0.5 (timm), and
in the paper's Table 3. torchvision's `width_mult` also scales `pre_logits` and the expanded
channels of the table; no published weights use this variant.

`mobilenet_v3_large_150d` is timm's wider and deeper `mobilenet_v3_large`. It has 1.5 times the
channels and 1.2 times the blocks, both rounded up, but 1280 `pre_logits`. Its head has a second 1x1
convolution, `head2`.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax

from netzoo.layers import Dropout, Padding, endpoint, global_avg_pool
from netzoo.models.blocks import (
    Activation,
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
    """Consecutive rows of Table 1 or 2 with the same number of output channels."""

    channels: int
    expansions: tuple[float, ...]  # expanded channels of each block in multiples of its input's
    kernel_size: int  # of the depthwise convolutions
    stride: int  # of the first block
    squeeze_excite: bool
    activation: Activation  # after the first two convolutions of a block


class Variant(NamedTuple):
    """Table 1 or 2."""

    stages: tuple[Stage, ...]
    head_channels: tuple[int, ...]  # of one or more 1x1 convolutions
    pre_logits_channels: int
    stem_channels: int = 16


RE, HS = nn.relu, nn.hard_swish
LARGE = Variant(
    (
        Stage(16, (1,), 3, 1, False, RE),
        Stage(24, (4, 3), 3, 2, False, RE),
        Stage(40, (3, 3, 3), 5, 2, True, RE),
        Stage(80, (6, 200 / 80, 184 / 80, 184 / 80), 3, 2, False, HS),
        Stage(112, (6, 6), 3, 1, True, HS),
        Stage(160, (6, 6, 6), 5, 2, True, HS),
    ),
    head_channels=(960,),
    pre_logits_channels=1280,
)
SMALL = Variant(
    (
        Stage(16, (1,), 3, 2, True, RE),
        Stage(24, (72 / 16, 88 / 24), 3, 2, False, RE),
        Stage(40, (4, 6, 6), 5, 2, True, HS),
        Stage(48, (3, 3), 5, 1, True, HS),
        Stage(96, (6, 6, 6), 5, 2, True, HS),
    ),
    head_channels=(576,),
    pre_logits_channels=1024,
)
LARGE_150D = Variant(
    (
        Stage(24, (1, 1), 3, 1, False, RE),
        Stage(40, (4, 3, 3), 3, 2, False, RE),
        Stage(64, (3, 3, 3, 3), 5, 2, True, RE),
        Stage(120, (6, 2.5, 2.5, 2.3, 2.3), 3, 2, False, HS),
        Stage(168, (6, 6, 6), 3, 1, True, HS),
        Stage(240, (6, 6, 6, 6), 5, 2, True, HS),
    ),
    head_channels=(1440, 1440),
    pre_logits_channels=1280,
    stem_channels=24,
)


class MobileNetV3(ConvNet, kw_only=True):
    """MobileNetV3.

    Attributes besides those of `ConvNet`:
      variant: `LARGE`, `SMALL` or `LARGE_150D`.
      width_multiplier: Factor on channel counts; see the module docstring.
      minimalistic: Whether to omit squeeze-excite, hard-swish and 5x5 kernels.
      dropout_rate: Dropout rate before the logits; the paper's "dropout of 0.8" is a keep
        probability.
      drop_path_rate: Drop path rate at the last block; earlier blocks have linearly lower rates.
        Only blocks with a shortcut have a drop path, as in timm.
      padding: Padding convention; see `netzoo.kernels.padding`.
      norm_epsilon: BatchNorm's epsilon: 1e-3 in torchvision, Keras and timm's `tf_` weights; 1e-5
        in timm's others.
    """

    variant: Variant
    width_multiplier: float = 1.0
    minimalistic: bool = False
    dropout_rate: float = 0.2
    drop_path_rate: float = 0.0
    padding: Padding = "torch"
    norm_epsilon: float = 1e-3

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Map images `[batch, H, W, 3]`, H, W >= 32, to float32 logits `[batch, num_classes]`."""
        check_image_size(images, self)
        v, activation = self.variant, RE if self.minimalistic else HS
        conv_norm_act = ConvNormAct.of(self, activation)
        depth = sum(len(s.expansions) for s in v.stages)
        drop_rates = iter(drop_path_rates(self.drop_path_rate, depth))
        stages = []
        for s in v.stages:
            if self.minimalistic:
                s = s._replace(kernel_size=3, squeeze_excite=False, activation=RE)
            block = functools.partial(
                InvertedResidual,
                ConvNormAct.of(self, s.activation),
                scale_channels(s.channels, self.width_multiplier),
                kernel_size=s.kernel_size,
                squeeze_excite=s.squeeze_excite,
            )
            blocks = [
                functools.partial(block, expansion=expansion, drop_rate=next(drop_rates))
                for expansion in s.expansions
            ]
            stages.append((s.stride, blocks))

        x = conv_norm_act(images, v.stem_channels, 3, stride=2, name="stem", train=train)
        x = trunk(self, endpoint(self, "stem", x), stages, train=train)
        for number, channels in enumerate(v.head_channels, start=1):
            head = scale_channels(channels, self.width_multiplier)
            name = "head" if number == 1 else f"head{number}"
            x = conv_norm_act(x, head, 1, name=name, train=train)
        x = endpoint(self, "head", x)
        init = nn.initializers.normal(0.01)
        wide = scale_channels(v.pre_logits_channels, max(1.0, self.width_multiplier))
        x = nn.Dense(wide, kernel_init=init, name="pre_logits")(global_avg_pool(x))
        return classifier(self, activation(x), Dropout(self.dropout_rate), init, train=train)


for _name, _variant in (("mobilenet_v3_large", LARGE), ("mobilenet_v3_small", SMALL)):
    _factory = functools.partial(MobileNetV3, variant=_variant)
    register(_name, _factory)
    register(f"{_name}_075", functools.partial(_factory, width_multiplier=0.75))
    register(f"{_name}_minimalistic", functools.partial(_factory, minimalistic=True))
register(
    "mobilenet_v3_small_050", functools.partial(MobileNetV3, variant=SMALL, width_multiplier=0.5)
)
register(
    "mobilenet_v3_large_150d", functools.partial(MobileNetV3, variant=LARGE_150D), image_size=256
)
