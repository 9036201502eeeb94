"""What families share: blocks of layers, the trunk that runs them, the classifier at the end."""

import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from netzoo import kernels
from netzoo.errors import UserError
from netzoo.layers import (
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    SqueezeExcite,
    adaptive_avg_pool,
    endpoint,
)
from netzoo.models.remat import blocks_are_rematerialized

Activation = Callable[[jax.Array], jax.Array]
SQUEEZE_RATIO = 1 / 4


def check_image_size(images: jax.Array, minimum: int, network: nn.Module) -> None:
    """Refuses images `[batch, height, width, channels]` that leave a later stage without pixels.

    Raises:
      UserError: A side is shorter than `minimum` pixels.
    """
    height, width = images.shape[1:3]
    if min(height, width) < minimum:
        raise UserError(
            f"images are {height}x{width} pixels; {type(network).__name__} halves them several "
            f"times and needs at least {minimum}x{minimum}"
        )


def scale_channels(channels: int, width_multiplier: float, divisor: int = 8) -> int:
    """Rounds `channels * width_multiplier` to the nearest multiple of `divisor`.

    The result is never more than 10 % below the product, by the convention of the authors of
    MobileNetV2 and V3.
    """
    product = channels * width_multiplier
    rounded = max(divisor, int(product + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * product else rounded


class ConvNormAct(NamedTuple):
    """A convolution, its norm and an activation; calls add both modules to the calling module.

    Attributes:
      conv: Makes the convolution.
      norm: Makes the norm; None for no norm.
      activation: The last of the three.
    """

    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module] | None
    activation: Activation

    @classmethod
    def of(
        cls, network: nn.Module, activation: Activation, *, norm: bool = True, **options
    ) -> "ConvNormAct":
        """Takes the settings of `Conv` and `BatchNorm` from the fields of a network.

        Args:
          network: Has the fields `dtype`, for the norm `norm_momentum` and `norm_epsilon`, and
            `padding` where it leaves a choice.
          activation: The activation.
          norm: Whether there is a norm.
          **options: Other fields of `Conv`.
        """
        padding, dtype = getattr(network, "padding", "torch"), network.dtype
        conv = functools.partial(Conv, padding=padding, dtype=dtype, **options)
        if not norm:
            return cls(conv, None, activation)
        momentum, epsilon = network.norm_momentum, network.norm_epsilon
        norm = functools.partial(BatchNorm, momentum=momentum, epsilon=epsilon, dtype=dtype)
        return cls(conv, norm, activation)

    def __call__(self, x: jax.Array, features: int, kernel_size: int, **options) -> jax.Array:
        """Returns the activation of what `linear` returns for the same arguments."""
        return self.activation(self.linear(x, features, kernel_size, **options))

    def linear(
        self, x: jax.Array, features: int, kernel_size: int, *, name: str, train: bool, **options
    ) -> jax.Array:
        """Maps `[batch, height, width, channels]` to `[batch, height', width', features]`.

        Args:
          x: The images.
          features: Channels of the output.
          kernel_size: Taps along each spatial axis.
          name: Name of the convolution; the norm is called `{name}_norm`.
          train: Whether the norm takes the statistics of the batch.
          **options: Other fields of the convolution, e.g. `stride=2`.
        """
        x = self.conv(features, kernel_size, name=name, **options)(x)
        return self.norm(name=f"{name}_norm")(x, train=train) if self.norm else x


class InvertedResidual(nn.Module):
    """Expands with 1x1, filters depthwise, projects linearly with 1x1.

    The block of MobileNetV2 (Sandler et al., arXiv:1801.04381, Figure 3b), and with squeeze-excite
    before the projection that of MobileNetV3 (Howard et al., arXiv:1905.02244, Figure 4). With
    `expansion` 1 it has no expanding convolution; where input and output have one shape, it adds
    the input.

    Attributes:
      conv_norm_act: Makes the convolutions and norms, and the activation of the first two.
      features: Channels of the output.
      expansion: Expanded channels in multiples of the input's.
      kernel_size: Taps of the depthwise convolution along each axis.
      squeeze_excite: Whether squeeze-excite precedes the projection; its bottleneck has a quarter
        of the expanded channels.
      stride: Step of the depthwise convolution.
    """

    conv_norm_act: ConvNormAct
    features: int
    expansion: float
    kernel_size: int = 3
    squeeze_excite: bool = False
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, H, W, C]` to `[batch, H / stride, W / stride, features]`."""
        conv_norm_act = functools.partial(self.conv_norm_act, train=train)
        y, expanded = x, scale_channels(x.shape[-1], self.expansion)
        if self.expansion != 1:
            y = conv_norm_act(y, expanded, 1, name="expand")
        depthwise = {"stride": self.stride, "groups": expanded, "name": "depthwise"}
        y = conv_norm_act(y, expanded, self.kernel_size, **depthwise)
        if self.squeeze_excite:
            bottleneck = scale_channels(expanded, SQUEEZE_RATIO)
            y = SqueezeExcite(bottleneck, name="squeeze_excite")(y)
        y = self.conv_norm_act.linear(y, self.features, 1, name="project", train=train)
        return x + y if x.shape == y.shape else y


def trunk(
    network: nn.Module,
    x: jax.Array,
    stages: Iterable[tuple[int, Iterable[Callable[..., nn.Module]]]],
    *,
    train: bool,
) -> jax.Array:
    """Runs the blocks of all stages, which become modules of `network`.

    Block 2 of stage 1 is called `stage1_block2`; its output is the endpoint `stage1/block2`.

    Args:
      network: The network that calls.
      x: Images `[batch, height, width, channels]`.
      stages: For each stage the stride of its first block, and what makes its blocks from `stride`
        and `name`.
      train: What the blocks are called with.
    """
    for stage, (first_stride, blocks) in enumerate(stages, start=1):
        for block, make_block in enumerate(blocks, start=1):
            stride = first_stride if block == 1 else 1
            x = make_block(stride=stride, name=f"stage{stage}_block{block}")(x, train=train)
            endpoint(network, f"stage{stage}/block{block}", x)
    return x


def classifier(
    network: nn.Module,
    features: jax.Array,
    dropout: Dropout | None,
    kernel_init: nn.initializers.Initializer,
    *,
    train: bool,
) -> jax.Array:
    """Ends a network: endpoint `pre_logits`, dropout and the dense layer `logits`.

    Args:
      network: The network that calls; its `num_classes` may be 0 for no classifier.
      features: `[batch, width]`, float32 or wider.
      dropout: Acts on the features before the dense layer; None for no dropout.
      kernel_init: Initializer of the dense layer's kernel.
      train: Whether dropout acts.

    Returns:
      The logits `[batch, num_classes]`, or the features for `num_classes=0`.
    """
    features = endpoint(network, "pre_logits", features)
    if network.num_classes == 0:
        return features
    features = dropout(features, train=train) if dropout else features
    return nn.Dense(network.num_classes, kernel_init=kernel_init, name="logits")(features)


def hidden_layers_classifier(
    network: nn.Module,
    x: jax.Array,
    side: int,
    *,
    bias_init: nn.initializers.Initializer = nn.initializers.zeros,
    dropout_first: bool = False,
    train: bool,
) -> jax.Array:
    """Ends AlexNet and VGG: two dense layers with ReLU, `hidden1` and `hidden2`, then a classifier.

    Args:
      network: The network that calls, with the fields `hidden_features` and `dropout_rate`.
      x: Images `[batch, height, width, channels]`, averaged or repeated to `side` x `side` pixels.
      side: Side of the images that the dense layers see.
      bias_init: Initializer of the biases of both layers.
      dropout_first: Dropout before each of the two layers rather than after.
      train: Whether dropout acts.

    Returns:
      What `classifier` does.
    """
    dropout, kernel_init = Dropout(network.dropout_rate), nn.initializers.normal(0.01)
    hidden = functools.partial(
        Dense,
        network.hidden_features,
        kernel_init=kernel_init,
        bias_init=bias_init,
        dtype=network.dtype,
    )
    x = adaptive_avg_pool(x, side).reshape(x.shape[0], -1)
    x = dropout(x, train=train) if dropout_first else x
    x = dropout(nn.relu(hidden(name="hidden1")(x)), train=train)
    x = nn.relu(hidden(name="hidden2")(x))
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    last_dropout = None if dropout_first else dropout
    return classifier(network, x, last_dropout, kernel_init, train=train)


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Returns the rates of drop path of `depth` blocks, from 0 linearly to that of the last."""
    return [last * index / max(depth - 1, 1) for index in range(depth)]


def scan_unroll(depth: int) -> int:
    """Returns how many of `depth` scanned blocks to write out one after the other.

    On CPU it is all of them: a loop would copy what the gradient needs into stacks and out again,
    which takes a tenth of a training step and saves one or two seconds of compilation. The loop
    stays on other platforms, and where blocks are computed again in the backward pass: there it
    holds that computation back.
    """
    unrolled = kernels.backend() == "cpu" and not blocks_are_rematerialized()
    return depth if unrolled else 1
