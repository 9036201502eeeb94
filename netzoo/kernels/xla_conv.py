"""XLA's own convolution: the native form, and what several of the forms for CPU are made of."""

import jax
from jax import lax

from netzoo.kernels.padding import Pads


def xla_conv(
    x: jax.Array,
    kernel: jax.Array,
    stride: int,
    pads: Pads,
    dilation: int,
    groups: int = 1,
    spread: int = 1,
) -> jax.Array:
    """Convolves `[batch, height, width, channels]`, with zeros `pads` around height and width.

    With `spread`, the pixels are first put that far apart, with zeros between them.
    """
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=pads,
        lhs_dilation=(spread, spread),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
