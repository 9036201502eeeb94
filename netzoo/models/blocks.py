"""Parts that families share: settings, blocks, the trunk that runs them, and classifiers."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from netzoo import kernels
from netzoo.errors import UserError
from netzoo.layers import (
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    DropPath,
    Padding,
    SqueezeExcite,
    adaptive_avg_pool,
    endpoint,
    perturbation,
    store_endpoint,
)
from netzoo.models.remat import blocks_are_rematerialized

# Takes the number of inputs of each output (the fan-in), and returns the initializer of the bias.
BiasInit = Callable[[int], nn.initializers.Initializer]
# PyTorch's default initializers, which torchvision keeps for some layers: kernels and biases are
# uniform in [-b, b], where b is one over the square root of the fan-in (torch/nn/modules/linear.py
# and conv.py).
TORCH_KERNEL = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
NORMAL = nn.initializers.normal(0.01)  # of the dense layers of AlexNet and VGG
Activation = Callable[[jax.Array], jax.Array]
SQUEEZE_RATIO = 1 / 4


class ConvNet(nn.Module, kw_only=True):
    """The settings of a network with BatchNorm.

    Attributes:
      num_classes: Length of the logits; 0 returns the features before them, `pre_logits`.
      norm_momentum: Decay of BatchNorm's running statistics; the 0.99 of many papers suits long
        runs.
      norm_epsilon: BatchNorm's epsilon.
      dtype: Compute dtype; parameters, statistics and logits are float32.
    """

    num_classes: int = 1000
    norm_momentum: float = 0.9
    norm_epsilon: float = 1e-5
    dtype: jnp.dtype = jnp.float32


def torch_bias(inputs: int) -> nn.initializers.Initializer:
    """Return PyTorch's initializer of a bias; see `TORCH_KERNEL`."""
    bound = inputs**-0.5
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)


def zero_bias(inputs: int) -> nn.initializers.Initializer:
    """Return the initializer of a bias of zeros."""
    del inputs
    return nn.initializers.zeros


def check_image_size(images: jax.Array, network: nn.Module, minimum: int = 32) -> None:
    """Raise an error for images `[batch, height, width, channels]` that are too small.

    Most networks reduce the sides of the image to 1/32.

    Raises:
      UserError: A side is shorter than `minimum` pixels, or the images are not normalised.
    """
    check_normalized(images)
    height, width = images.shape[1:3]
    if min(height, width) < minimum:
        raise UserError(
            f"images are {height}x{width} pixels; {type(network).__name__} expects at least "
            f"{minimum}x{minimum}"
        )


def check_normalized(images: jax.Array) -> None:
    """Raise a UserError for integers, which cannot be normalised images."""
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise UserError(
            f"expected normalised float32 images, got {images.dtype}; netzoo.Predictor and "
            "Preprocessing.normalize create them from pixels"
        )


def scale_channels(channels: int, width_multiplier: float) -> int:
    """Round `channels * width_multiplier` to the nearest multiple of 8.

    The result is at least 90 % of the product, as in the authors' code of MobileNetV2 and V3.
    """
    product = channels * width_multiplier
    rounded = max(8, int(product + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * product else rounded


class ConvNormAct(NamedTuple):
    """Adds a convolution, a norm (unless None) and an activation to the calling module."""

    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module] | None
    activation: Activation

    @classmethod
    def of(
        cls, network: ConvNet, activation: Activation, *, norm: bool = True, **options
    ) -> "ConvNormAct":
        """Take the layers' settings from a network; `options` are other fields of `Conv`."""
        padding: Padding = getattr(network, "padding", "torch")
        conv = functools.partial(Conv, padding=padding, dtype=network.dtype, **options)
        batch_norm = functools.partial(
            BatchNorm,
            momentum=network.norm_momentum,
            epsilon=network.norm_epsilon,
            dtype=network.dtype,
        )
        return cls(conv, batch_norm if norm else None, activation)

    def __call__(self, x: jax.Array, features: int, kernel_size: int, **options) -> jax.Array:
        """Apply `linear` and then the activation."""
        return self.activation(self.linear(x, features, kernel_size, **options))

    def linear(
        self, x: jax.Array, features: int, kernel_size: int, *, name: str, train: bool, **options
    ) -> jax.Array:
        """Map `[batch, height, width, channels]` to `[batch, height', width', features]`.

        The convolution is named `name`, and the norm `{name}_norm`; `options` are other fields of
        the convolution, e.g. `stride=2`.
        """
        x = self.conv(features, kernel_size, name=name, **options)(x)
        return self.norm(name=f"{name}_norm")(x, train=train) if self.norm else x


class InvertedResidual(nn.Module):
    """A 1x1 expansion, a depthwise convolution, and a linear 1x1 projection.

    This is the block of MobileNetV2 (Sandler et al., arXiv:1801.04381, Figure 3b). With
    squeeze-excite before the projection, it is the block of MobileNetV3 (Howard et al.,
    arXiv:1905.02244, Figure 4). With `expansion` 1 it has no expanding convolution. If input and
    output have the same shape, the block adds the input. Only such a block has a drop path.
    """

    conv_norm_act: ConvNormAct
    features: int  # channels of the output
    expansion: float  # expanded channels in multiples of the input's
    kernel_size: int = 3  # of the depthwise convolution
    squeeze_excite: bool = False  # with a quarter of the expanded channels
    drop_rate: float = 0.0  # probability of dropping the branch of an example in training
    stride: int = 1  # of the depthwise convolution

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H / stride, W / stride, features]`."""
        y, expanded = x, scale_channels(x.shape[-1], self.expansion)
        if self.expansion != 1:
            y = self.conv_norm_act(y, expanded, 1, name="expand", train=train)
        depthwise = {"stride": self.stride, "groups": expanded, "name": "depthwise"}
        y = self.conv_norm_act(y, expanded, self.kernel_size, **depthwise, train=train)
        if self.squeeze_excite:
            bottleneck = scale_channels(expanded, SQUEEZE_RATIO)
            y = SqueezeExcite(bottleneck, name="squeeze_excite")(y)
        y = self.conv_norm_act.linear(y, self.features, 1, name="project", train=train)
        if x.shape != y.shape:
            return y
        return x + DropPath(self.drop_rate, name="drop_path")(y, train=train)


def trunk(
    network: nn.Module,
    x: jax.Array,
    stages: Iterable[tuple[int, Iterable[Callable[..., nn.Module]]]],
    *,
    train: bool,
) -> jax.Array:
    """Run the blocks of all stages as submodules of `network`.

    Each stage is a pair: the stride of its first block, and one function per block, which creates
    the block from `stride` and `name`. Block 2 of stage 1 is named `stage1_block2`; its output is
    the endpoint `stage1/block2`.
    """
    for stage, (first_stride, blocks) in enumerate(stages, start=1):
        for block, make_block in enumerate(blocks, start=1):
            stride = first_stride if block == 1 else 1
            x = make_block(stride=stride, name=f"stage{stage}_block{block}")(x, train=train)
            x = endpoint(network, f"stage{stage}/block{block}", x)
    return x


def classifier(
    network: nn.Module,
    features: jax.Array,
    dropout: Dropout | None,
    kernel_init: nn.initializers.Initializer,
    *,
    bias_init: BiasInit = zero_bias,
    train: bool,
) -> jax.Array:
    """Apply the end of a network: endpoint `pre_logits`, dropout, and the dense layer `logits`.

    It maps features `[batch, width]`, in float32 or wider, to logits `[batch, num_classes]`. If
    `network.num_classes` is 0, it returns the features.
    """
    features = endpoint(network, "pre_logits", features)
    if network.num_classes == 0:
        return features
    features = dropout(features, train=train) if dropout else features
    bias = bias_init(features.shape[-1])
    layer = nn.Dense(network.num_classes, kernel_init=kernel_init, bias_init=bias, name="logits")
    return layer(features)


def hidden_layers_classifier(
    network: nn.Module,
    x: jax.Array,
    side: int,
    *,
    kernel_init: nn.initializers.Initializer = NORMAL,
    bias_init: BiasInit = zero_bias,
    logits_bias_init: BiasInit = zero_bias,
    dropout_first: bool = False,
    train: bool,
) -> jax.Array:
    """Apply the end of AlexNet and VGG: dense layers `hidden1` and `hidden2`, then `classifier`.

    Adaptive average pooling first brings the feature map `x` `[batch, height, width, channels]` to
    `side` x `side` pixels. ReLU and dropout follow each dense layer; with `dropout_first`, dropout
    precedes it.
    """
    dropout = Dropout(network.dropout_rate)

    def hidden(x: jax.Array, name: str) -> jax.Array:
        layer = Dense(
            network.hidden_features,
            dtype=network.dtype,
            kernel_init=kernel_init,
            bias_init=bias_init(x.shape[-1]),
            name=name,
        )
        return nn.relu(layer(x))

    x = adaptive_avg_pool(x, side).reshape(x.shape[0], -1)
    x = dropout(x, train=train) if dropout_first else x
    x = dropout(hidden(x, "hidden1"), train=train)
    x = hidden(x, "hidden2")
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    last = None if dropout_first else dropout
    return classifier(network, x, last, kernel_init, bias_init=logits_bias_init, train=train)


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Return the drop path rates of `depth` blocks, which increase linearly from 0 to `last`."""
    return [last * index / max(depth - 1, 1) for index in range(depth)]


def drop_path_factors(
    network: nn.Module, last: float, depth: int, branches: int, x: jax.Array, *, train: bool
) -> jax.Array | None:
    """Draw the factors of drop path for scanned blocks: 0, or 1 / (1 - rate).

    Args:
      network: The calling module, whose `dropout` stream is used.
      last: Drop path rate of the last block; see `drop_path_rates`.
      depth: Number of blocks.
      branches: Number of branches of a block; each has its own factors.
      x: Input of the blocks, `[batch, length, width]`.
      train: Whether to drop branches.

    Returns:
      `[depth, branches, batch, 1, 1]`, or None if nothing is dropped.
    """
    if last == 0 or not train:
        return None
    rates = np.array(drop_path_rates(last, depth))
    # Not in `x.dtype`: bfloat16 random numbers are too coarse for small rates.
    wide = jnp.promote_types(x.dtype, jnp.float32)
    shares = jnp.asarray(1 - rates.reshape(-1, 1, 1, 1, 1), wide)
    shape = (depth, branches, x.shape[0], 1, 1)
    factors = jax.random.bernoulli(network.make_rng("dropout"), shares, shape) / shares
    return factors.astype(x.dtype)


def scan_blocks(block: type[nn.Module], depth: int, in_axes) -> Callable[..., nn.Module]:
    """Return a class of `depth` scanned blocks with stacked parameters.

    On CPU the scan is unrolled. A loop would save one or two seconds of compilation, but would copy
    the gradient's residuals into and out of stacks, which takes a tenth of a training step. Other
    platforms keep the loop. Rematerialisation keeps it too, because the loop delays the
    recomputation until the backward pass.

    Args:
      block: Maps `x` and other inputs to the next `x` and to outputs, which are stacked.
      depth: Number of blocks.
      in_axes: For each other input, 0 if every block gets a slice, `nn.broadcast` if it gets the
        whole.
    """
    unrolled = kernels.backend() == "cpu" and not blocks_are_rematerialized()
    return nn.scan(
        block,
        length=depth,
        unroll=depth if unrolled else 1,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=in_axes,
    )


def block_endpoints(network: nn.Module, stack: str, outputs: Mapping[str, jax.Array]) -> None:
    """Store outputs `[depth, ...]` of scanned blocks, e.g. `"/mlp"` as `{stack}/block1/mlp`."""
    for name, values in outputs.items():
        for block, value in enumerate(values, start=1):
            store_endpoint(network, f"{stack}/block{block}{name}", value)


def block_perturbations(
    network: nn.Module, stack: str, depth: int, names: Iterable[str]
) -> dict[str, jax.Array]:
    """Return the perturbations `[depth, ...]` of the outputs `names` of scanned blocks.

    Blocks without a perturbation have zeros. An output that no block perturbs is left out. For the
    names, see `block_endpoints`; for perturbations, `netzoo.layers.endpoint`.
    """
    stacked = {}
    for name in names:
        blocks = (f"{stack}/block{block}{name}" for block in range(1, depth + 1))
        added = [perturbation(network, endpoint) for endpoint in blocks]
        if given := [value for value in added if value is not None]:
            zeros = jnp.zeros_like(given[0])
            stacked[name] = jnp.stack([zeros if value is None else value for value in added])
    return stacked
