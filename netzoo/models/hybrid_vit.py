"""Hybrid: a Vision Transformer on the feature map of a ResNet (arXiv:2010.11929, section 3.1).

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

In `r50_b16`, the three blocks of ResNet-50's stage 4 are moved to stage 3, so that a token covers
16x16 pixels (section 4.1, "Model variants"). The other R26 and R50 networks keep four stages, and
their tokens cover 32x32 pixels (Steiner et al., arXiv:2106.10270, section 3.2). `r_ti16` has only
the stem, which divides the sides by 4, and embeds 8x8 patches of its output. Its tokens therefore
cover 32x32 pixels, despite the name.

The ResNet is that of Big Transfer (Kolesnikov et al., arXiv:1912.11370), with standardised kernels
(Qiao et al., arXiv:1903.10520) and GroupNorm (Wu and He, arXiv:1803.08494), but with the activation
after the sum. Bottlenecks halve the image in their 3x3 convolution.
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


# The Transformer, with patches of the feature map, and the blocks in each stage of the ResNet.
VARIANTS = {
    "r_ti16": (vit.Variant(192, 12, 768, 3, 8), ()),
    "r26_s32": (vit.Variant(384, 12, 1536, 6, 1), (2, 2, 2, 2)),
    "r26_b32": (vit.Variant(768, 12, 3072, 12, 1), (2, 2, 2, 2)),
    "r50_b16": (vit.Variant(768, 12, 3072, 12, 1), (3, 4, 9)),
    "r50_l32": (vit.Variant(1024, 24, 4096, 16, 1), (3, 4, 6, 3)),
}


class StandardizedConv(Conv):
    """A convolution that uses its kernel standardised; the stored parameter does not change.

    Attributes besides those of `Conv`:
      epsilon: Added to the standard deviation or the variance of the kernel.
      epsilon_place: Whether `epsilon` is added to the `"deviation"` or the `"variance"`.
    """

    epsilon: float = 1e-5
    epsilon_place: EpsilonPlace = "deviation"

    @nn.nowrap
    def transform(self, kernel: jax.Array) -> jax.Array:
        """Standardise every output channel of `[height, width, in, out]`."""
        flat = kernel.reshape(-1, kernel.shape[-1])  # XLA's CPU backend reduces matrices fast
        centred = flat - jax.lax.broadcast_to_rank(flat.mean(0), 2)
        variance = jnp.square(centred).mean(0)
        if self.epsilon_place == "deviation":
            scale = 1 / (jnp.sqrt(variance) + self.epsilon)
        else:
            scale = jax.lax.rsqrt(variance + self.epsilon)
        return (centred * jax.lax.broadcast_to_rank(scale, 2)).reshape(kernel.shape)


class HybridViT(vit.ViT):
    """A Vision Transformer on the feature map of a ResNet.

    Attributes besides those of `netzoo.models.vit.ViT`:
      stages: Number of blocks in each stage of the ResNet.
      padding: Padding convention; see `netzoo.kernels.padding`.
      group_norm_epsilon: GroupNorm's epsilon: 1e-6 in the authors' JAX code, 1e-5 in timm.
      standardize_epsilon: Epsilon of the standardised kernels: 1e-5 in the authors' JAX code, which
        adds it to the standard deviation; 1e-8 in timm, which adds it to the variance.
      standardize_epsilon_place: Where `standardize_epsilon` is added, `"deviation"` or
        `"variance"`.
    """

    stages: tuple[int, ...] = ()
    padding: Padding = "same"
    group_norm_epsilon: float = 1e-6
    standardize_epsilon: float = 1e-5
    standardize_epsilon_place: EpsilonPlace = "deviation"

    def embed(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Map images to a grid of tokens `[batch, rows, columns, width]`."""
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
        """Return the side of the square of pixels that one token covers."""
        return STEM_STRIDE * 2 ** max(len(self.stages) - 1, 0) * self.variant.patch


for _name, (_variant, _stages) in VARIANTS.items():
    register(_name, functools.partial(HybridViT, variant=_variant, stages=_stages))
