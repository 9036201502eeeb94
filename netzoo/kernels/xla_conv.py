"""XLA's own convolution: the native form, and what several of the forms for CPU are made of."""

import jax
from jax import lax

from netzoo.kernels.windows import Window


def xla_conv(
    x: jax.Array, kernel: jax.Array, window: Window, groups: int = 1, spread: int = 1
) -> jax.Array:
    """Convolves `[batch, height, width, channels]`.

    With `spread`, the pixels are first put that far apart, with zeros between them.
    """
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(window.stride, window.stride),
        padding=window.pads,
        lhs_dilation=(spread, spread),
        rhs_dilation=(window.dilation, window.dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
