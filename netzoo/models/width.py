"""How width multipliers round numbers of channels."""


def scale_channels(channels: int, width_multiplier: float, divisor: int = 8) -> int:
    """Rounds `channels * width_multiplier` to the nearest multiple of `divisor`.

    Never more than 10 % below the request, the convention of the authors of MobileNetV2 and V3.
    """
    wanted = channels * width_multiplier
    rounded = max(divisor, int(wanted + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * wanted else rounded
