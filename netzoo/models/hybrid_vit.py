"""Hybrids: a Vision Transformer on the feature map of a ResNet (arXiv:2010.11929, section 3.1).

Shape contract of `r50_b16` at 224x224 pixels:

    images     [batch, 224, 224, 3]
    stem       [batch, 56, 56, 64]      7x7, stride 2, then 3x3 max-pool, stride 2
    stage1     [batch, 56, 56, 256]     3 blocks
    stage2     [batch, 28, 28, 512]     4 blocks
    stage3     [batch, 14, 14, 1024]    9 blocks
    embedding  [batch, 14, 14, 768]     1x1
    encoder    [batch, 197, 768]        class token and 14 * 14 places; 12 blocks, then a norm
    pre_logits [batch, 768]             the class token
    logits     [batch, num_classes]

The three blocks of ResNet-50's stage 4 are moved to stage 3, so that a token is 16 pixels wide
(section 4.1, "Model variants"). The others of R26 and R50 keep four stages and 32 pixels (Steiner
et al., arXiv:2106.10270, section 3.2). `r_ti16` has the stem alone and embeds patches of 8x8 of its
map; the stem divides the image by 4, so that a token is 32 pixels wide whatever the name says.

The ResNet is that of Big Transfer (Kolesnikov et al., arXiv:1912.11370): standardised kernels (Qiao
et al., arXiv:1903.10520) and GroupNorm (Wu and He, arXiv:1803.08494), but with the activation after
the sum. Bottlenecks halve the image in their 3x3 convolution.
"""

import functools
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from netzoo.layers import Conv, GroupNorm, Padding, endpoint, max_pool
from netzoo.models import vit
from netzoo.models.blocks import ConvNormAct, trunk
from netzoo.models.registry import register
from netzoo.models.resnet import BOTTLENECK_EXPANSION, ResidualBlock

STEM_CHANNELS = 64
STEM_STRIDE = 4
NORM_GROUPS = 32

EpsilonPlace = Literal["deviation", "variance"]


# The Transformer, whose patches are of the ResNet's feature map, and blocks in each stage of that.
VARIANTS = {
    "r_ti16": (vit.Variant(192, 12, 768, 3, 8), ()),
    "r26_s32": (vit.Variant(384, 12, 1536, 6, 1), (2, 2, 2, 2)),
    "r26_b32": (vit.Variant(768, 12, 3072, 12, 1), (2, 2, 2, 2)),
    "r50_b16": (vit.Variant(768, 12, 3072, 12, 1), (3, 4, 9)),
    "r50_l32": (vit.Variant(1024, 24, 4096, 16, 1), (3, 4, 6, 3)),
}


class StandardizedConv(Conv):
    """A convolution whose kernel is standardised at every use; the parameter is not.

    Attributes besides those of `Conv`:
      epsilon: Added to the deviation or the variance of the kernel.
      epsilon_place: Which of the two.
    """

    epsilon: float = 1e-5
    epsilon_place: EpsilonPlace = "deviation"

    @nn.nowrap
    def transform(self, kernel: jax.Array) -> jax.Array:
        """Gives every output channel of `[height, width, in, out]` mean 0 and deviation 1."""
        flat = kernel.reshape(-1, kernel.shape[-1])  # XLA's CPU backend is quick to reduce matrices
        centred = flat - flat.mean(0)
        variance = jnp.square(centred).mean(0)
        if self.epsilon_place == "deviation":
            scale = 1 / (jnp.sqrt(variance) + self.epsilon)
        else:
            scale = jax.lax.rsqrt(variance + self.epsilon)
        return (centred * scale).reshape(kernel.shape)


class HybridViT(vit.ViT):
    """ResNet and Vision Transformer.

    Attributes besides those of `netzoo.models.vit.ViT`:
      stages: Blocks in each stage of the ResNet.
      padding: Padding convention, see `netzoo.kernels.padding`.
      group_norm_epsilon: GroupNorm's epsilon: 1e-6 in the authors' JAX code, 1e-5 in timm.
      standardize_epsilon: Epsilon of the standardised kernels: 1e-5 in the authors' JAX code, added
        to the standard deviation; 1e-8 in timm, added to the variance.
      standardize_epsilon_place: What it is added to, `"deviation"` or `"variance"`.
    """

    stages: tuple[int, ...] = ()
    padding: Padding = "same"
    group_norm_epsilon: float = 1e-6
    standardize_epsilon: float = 1e-5
    standardize_epsilon_place: EpsilonPlace = "deviation"

    def embed(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images to the grid of their tokens `[batch, rows, columns, width]`."""
        conv = functools.partial(
            StandardizedConv,
            padding=self.padding,
            kernel_init=nn.initializers.lecun_normal(),
            epsilon=self.standardize_epsilon,
            epsilon_place=self.standardize_epsilon_place,
            dtype=self.dtype,
        )
        norm = functools.partial(
            GroupNorm, NORM_GROUPS, epsilon=self.group_norm_epsilon, dtype=self.dtype
        )
        conv_norm_act = ConvNormAct(conv, norm, nn.relu)
        block = functools.partial(ResidualBlock, conv_norm_act, zero_init_last_norm=True)
        stages = []
        for stage, depth in enumerate(self.stages):
            width = STEM_CHANNELS * 2**stage
            make = functools.partial(block, BOTTLENECK_EXPANSION * width, width)
            stages.append((2 if stage else 1, depth * [make]))
        x = conv_norm_act(images, STEM_CHANNELS, 7, stride=2, name="stem", train=train)
        x = endpoint(self, "stem", max_pool(x, 3, 2, padding=self.padding))
        return self._embed_patches(trunk(self, x, stages, train=train))

    def pixels_per_token(self) -> int:
        """Returns the side of the square of pixels that becomes one token."""
        return STEM_STRIDE * 2 ** max(len(self.stages) - 1, 0) * self.variant.patch


for _name, (_variant, _stages) in VARIANTS.items():
    register(_name, functools.partial(HybridViT, variant=_variant, stages=_stages))
