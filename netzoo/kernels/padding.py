"""The two padding conventions of published weights.

Both give the same output shapes for the networks of netzoo, but different values where the stride
is 2. PyTorch pads both sides equally. If the total is odd, TensorFlow puts the extra row or column
of zeros at the end.
"""

from typing import Literal, get_args

Padding = Literal["torch", "same"]
# Zeros before and after the image along height and width.
Pads = tuple[tuple[int, int], ...]
NO_PADS: Pads = ((0, 0), (0, 0))


def spatial_padding(
    size: int, kernel: int, stride: int, padding: Padding, dilation: int = 1
) -> tuple[int, int]:
    """Return the zeros to put before and after one spatial axis.

    Args:
      size: Length of the axis, in pixels.
      kernel: Kernel length, in taps.
      stride: Step between output positions, in pixels.
      padding: `"torch"` for symmetric `dilation * (kernel - 1) // 2`, `"same"` for TensorFlow's
        SAME, which makes the output `ceil(size / stride)` long.
      dilation: Distance between taps, in pixels.

    Raises:
      ValueError: `padding` is unknown.
    """
    span = dilation * (kernel - 1)
    if padding == "torch":
        return span // 2, span // 2
    if padding == "same":
        total = max((-(-size // stride) - 1) * stride + span + 1 - size, 0)
        return total // 2, total - total // 2
    raise ValueError(f"padding is {padding!r}; expected one of {', '.join(get_args(Padding))}")
