"""XLA's own convolution: the native implementation, and a part of several CPU implementations."""

import jax
from jax import lax

from netzoo.kernels.windows import Window


def xla_conv(
    x: jax.Array, kernel: jax.Array, window: Window, groups: int = 1, spread: int = 1
) -> jax.Array:
    """Convolve `[batch, height, width, channels]`.

    `spread` first inserts `spread - 1` zeros between neighbouring pixels.
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
