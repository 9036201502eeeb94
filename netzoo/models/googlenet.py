"""GoogLeNet: Inception modules and auxiliary classifiers (Szegedy et al., arXiv:1409.4842).

Shape contract of every variant at 224x224 pixels (Table 1 of the paper):

    images     [batch, 224, 224, 3]
    stem       [batch, 28, 28, 192]     7x7, stride 2; max-pool; 1x1; 3x3; max-pool
    stage3     [batch, 28, 28, 480]     2 blocks: inception (3a) to (3b)
    stage4     [batch, 14, 14, 832]     5 blocks: inception (4a) to (4e), after a max-pool
    stage5     [batch, 7, 7, 1024]      2 blocks: inception (5a) and (5b), after a max-pool
    pre_logits [batch, 1024]            average over space
    logits     [batch, num_classes]
    aux1, aux2 [batch, num_classes]     from (4a) and (4d), in training only

The pools that halve the image round up: 112, 56, 28, 14, 7. `googlenet` has biases and local
response normalisation, as in Caffe's `bvlc_googlenet`. `googlenet_bn` instead has BatchNorm after
every convolution (Ioffe and Szegedy, arXiv:1502.03167, section 3.2). `googlenet_tv` is
torchvision's network: BatchNorm, 3x3 convolutions instead of the paper's 5x5, and a last pool of
2x2.

The auxiliary classifiers average their input to 4x4, so that their parameters do not depend on the
image size. The paper's 5x5 pool with stride 3 (section 5) gives 4x4 for a 14x14 input, from images
of 224 pixels. For other sizes, and always in torchvision's variant, the pool is adaptive.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from netzoo.layers import (
    AUXILIARY,
    Dropout,
    Padding,
    adaptive_avg_pool,
    endpoint,
    global_avg_pool,
    local_response_norm,
    max_pool,
    store_endpoint,
)
from netzoo.models.blocks import ConvNet, ConvNormAct, check_image_size, classifier
from netzoo.models.registry import register

AUXILIARY_SIDE = 4
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Widths(NamedTuple):
    """Channels of an Inception module: six columns of Table 1."""

    branch1: int  # 1x1
    reduce2: int  # 1x1 before the 3x3
    branch2: int  # 3x3
    reduce3: int  # 1x1 before the 5x5
    branch3: int  # 5x5
    branch4: int  # 1x1 after the pool


STAGES = {
    3: (Widths(64, 96, 128, 16, 32, 32), Widths(128, 128, 192, 32, 96, 64)),
    4: (
        Widths(192, 96, 208, 16, 48, 64),
        Widths(160, 112, 224, 24, 64, 64),
        Widths(128, 128, 256, 24, 64, 64),
        Widths(112, 144, 288, 32, 64, 64),
        Widths(256, 160, 320, 32, 128, 128),
    ),
    5: (Widths(256, 160, 320, 32, 128, 128), Widths(384, 192, 384, 48, 128, 128)),
}
# Auxiliary classifiers by stage and block of their input.
HEADS = {(4, 1): "aux1", (4, 4): "aux2"}


class Variant(NamedTuple):
    """The differences between the variants, besides defaults."""

    batch_norm: bool  # instead of biases and local response normalisation
    branch3_kernel: int  # kernel size of an Inception module's larger convolution
    last_pool: int  # window of the pool before stage 5
    adaptive_pool: bool  # in the auxiliary classifiers, at every size
    kernel_init: nn.initializers.Initializer


PAPER = Variant(
    batch_norm=False,
    branch3_kernel=5,
    last_pool=3,
    adaptive_pool=False,
    # Caffe's "xavier" uses the fan-in only.
    kernel_init=nn.initializers.variance_scaling(1.0, "fan_in", "uniform"),
)
PAPER_BATCH_NORM = PAPER._replace(batch_norm=True)
TORCHVISION = Variant(
    batch_norm=True,
    branch3_kernel=3,
    last_pool=2,
    adaptive_pool=True,
    # torchvision truncates the distribution at 200 standard deviations, which has no effect.
    kernel_init=nn.initializers.normal(0.01),
)


class Stem(nn.Module):
    """The layers before the Inception modules."""

    conv_norm_act: ConvNormAct
    pool: Callable[..., jax.Array]
    normalize: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Map images `[batch, H, W, 3]` to `[batch, H / 8, W / 8, 192]`."""
        x = self.conv_norm_act(images, 64, 7, stride=2, name="conv1", train=train)
        x = self.normalize(self.pool(x, 3))
        x = self.conv_norm_act(x, 64, 1, name="conv2_reduce", train=train)
        x = self.conv_norm_act(x, 192, 3, name="conv2", train=train)
        return self.pool(self.normalize(x), 3)


class Inception(nn.Module):
    """Four parallel branches (Figure 2b of the paper)."""

    widths: Widths
    branch3_kernel: int
    conv_norm_act: ConvNormAct

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H, W, channels of all branches]`."""
        w, conv_norm_act = self.widths, self.conv_norm_act
        branch1 = conv_norm_act(x, w.branch1, 1, name="branch1", train=train)
        branch2 = conv_norm_act(x, w.reduce2, 1, name="branch2_reduce", train=train)
        branch2 = conv_norm_act(branch2, w.branch2, 3, name="branch2", train=train)
        branch3 = conv_norm_act(x, w.reduce3, 1, name="branch3_reduce", train=train)
        branch3 = conv_norm_act(
            branch3, w.branch3, self.branch3_kernel, name="branch3", train=train
        )
        branch4 = conv_norm_act(max_pool(x, 3, 1), w.branch4, 1, name="branch4", train=train)
        return jnp.concatenate([branch1, branch2, branch3, branch4], -1)


class AuxiliaryClassifier(nn.Module):
    """A classifier of an intermediate feature map (section 5 of the paper)."""

    num_classes: int
    dropout_rate: float
    adaptive_pool: bool
    conv_norm_act: ConvNormAct
    kernel_init: nn.initializers.Initializer
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map `[batch, H, W, C]` to float32 logits `[batch, num_classes]`."""
        if x.shape[1:3] == (14, 14) and not self.adaptive_pool:
            x = nn.avg_pool(x, (5, 5), (3, 3))
        else:
            x = adaptive_avg_pool(x, AUXILIARY_SIDE)
        x = self.conv_norm_act(x, 128, 1, name="conv", train=train).reshape(x.shape[0], -1)
        dense = functools.partial(nn.Dense, kernel_init=self.kernel_init)
        x = nn.relu(dense(1024, dtype=self.dtype, name="hidden")(x))
        x = Dropout(self.dropout_rate)(x, train=train)
        return dense(self.num_classes, name="logits")(x)


class GoogLeNet(ConvNet, kw_only=True):
    """GoogLeNet, also known as Inception v1.

    Attributes besides those of `ConvNet`:
      variant: The variant of the paper, with or without BatchNorm, or of torchvision.
      auxiliary: Whether there are auxiliary classifiers. They always have parameters, but run only
        in training; `num_classes=0` omits them.
      auxiliary_weight: Weight of each auxiliary loss; the loss of the logits has weight 1.
      auxiliary_dropout_rate: Dropout rate before the auxiliary logits.
      transform_input: Whether to map images normalised by ImageNet's mean and standard deviation to
        [-1, 1], which torchvision's weights expect.
      dropout_rate: Dropout rate before the logits.
      padding: Padding convention; see `netzoo.kernels.padding`.
    """

    variant: Variant
    auxiliary: bool = True
    auxiliary_weight: float = 0.3
    auxiliary_dropout_rate: float = 0.7
    transform_input: bool = False
    dropout_rate: float = 0.4
    padding: Padding = "torch"

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Map images `[batch, H, W, 3]`, H, W >= 32, to float32 logits `[batch, num_classes]`."""
        check_image_size(images, self)
        v = self.variant
        conv_norm_act = ConvNormAct.of(
            self,
            nn.relu,
            norm=v.batch_norm,
            use_bias=not v.batch_norm,
            kernel_init=v.kernel_init,
            # The bias of `bvlc_googlenet`, which keeps ReLUs from being dead at initialisation.
            bias_init=nn.initializers.constant(0.2),
        )
        pool = functools.partial(
            max_pool, stride=2, padding=0 if self.padding == "torch" else self.padding, ceil=True
        )
        auxiliary_classifier = functools.partial(
            AuxiliaryClassifier,
            self.num_classes,
            self.auxiliary_dropout_rate,
            v.adaptive_pool,
            conv_norm_act,
            v.kernel_init,
            self.dtype,
        )
        classify_early = self.auxiliary and self.num_classes and (train or self.is_initializing())

        x = images
        if self.transform_input:
            mean, std = (jnp.asarray(values, x.dtype) for values in (IMAGENET_MEAN, IMAGENET_STD))
            x = (x * std + mean - 0.5) / 0.5
        # Caffe's constants; the paper states none.
        response_norm = functools.partial(local_response_norm, k=1.0, alpha_over_size=True)
        normalize = (lambda x: x) if v.batch_norm else response_norm
        x = Stem(conv_norm_act, pool, normalize, name="stem")(x, train=train)
        x = endpoint(self, "stem", x)
        for stage, blocks in STAGES.items():
            if stage > 3:
                x = pool(x, v.last_pool if stage == 5 else 3)
            for block, widths in enumerate(blocks, start=1):
                name = f"stage{stage}_block{block}"
                x = Inception(widths, v.branch3_kernel, conv_norm_act, name=name)(x, train=train)
                x = endpoint(self, f"stage{stage}/block{block}", x)
                if classify_early and (stage, block) in HEADS:
                    name = HEADS[stage, block]
                    logits = auxiliary_classifier(name=name)(x, train=train)
                    store_endpoint(self, name, logits, AUXILIARY)
        dropout = Dropout(self.dropout_rate)
        return classifier(self, global_avg_pool(x), dropout, v.kernel_init, train=train)


register("googlenet", functools.partial(GoogLeNet, variant=PAPER))
register("googlenet_bn", functools.partial(GoogLeNet, variant=PAPER_BATCH_NORM))
register(
    "googlenet_tv",
    functools.partial(GoogLeNet, variant=TORCHVISION, dropout_rate=0.2, norm_epsilon=1e-3),
)
