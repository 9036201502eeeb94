"""Policies, which draw distortions of an image at random: RandAugment and its relatives.

All of them draw from one table of operations, and have torchvision's ranges of amounts:

- RandAugment (Cubuk et al. 2019, arXiv:1909.13719): several operations of a common strength.
- TrivialAugment (Müller and Hutter 2021, arXiv:2103.10158): one operation of a random strength, in
  wider ranges.
- AutoAugment (Cubuk et al. 2018, arXiv:1805.09501): one of 25 pairs of operations, which were found
  by a search on ImageNet.

Colour jitter draws from the same operations.
"""

from collections.abc import Callable

import numpy as np

from netzoo.data.operations import OPERATIONS

# The largest amounts, in the units of `OPERATIONS`: first for AutoAugment (table 6 of its paper)
# and RandAugment, then for TrivialAugment. The first two translate by shares of the image's side,
# the last by pixels. RandAugment and TrivialAugment draw from all of these operations.
LARGEST = {
    "identity": (0.0, 0.0),
    "autocontrast": (0.0, 0.0),
    "equalize": (0.0, 0.0),
    "rotate": (30.0, 135.0),
    "posterize": (4.0, 6.0),
    "solarize": (256.0, 256.0),
    "color": (0.9, 0.99),
    "contrast": (0.9, 0.99),
    "brightness": (0.9, 0.99),
    "sharpness": (0.9, 0.99),
    "shear_x": (0.3, 0.99),
    "shear_y": (0.3, 0.99),
    "translate_x": (150 / 331, 32.0),
    "translate_y": (150 / 331, 32.0),
}
_NAMES = tuple(LARGEST)
_AXIS = {"translate_x": 1, "translate_y": 0}  # its length is the side
_WIDE_STEPS = 30  # TrivialAugment draws from 31 strengths
_JITTERED = ("brightness", "contrast", "color", "hue")

# The policy for ImageNet (table 9 of the paper): pairs of an operation, its probability, and its
# magnitude from 0 to 9.
IMAGENET_POLICY = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 0), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 0)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 0)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 0), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("color", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 0)),
    (("equalize", 0.0, 0), ("equalize", 0.8, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("color", 1.0, 2)),
    (("color", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 0)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 0)),
    (("color", 0.4, 0), ("equalize", 0.6, 0)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
)


def rand_augment(
    image: np.ndarray, rng: np.random.Generator, num_layers: int, magnitude: float
) -> np.ndarray:
    """Apply `num_layers` operations, drawn uniformly with replacement, to uint8 `[H, W, 3]`.

    `magnitude` is their strength, from 0 (little or no effect) to 10; the usual value is 9. The
    result may be `image` itself.
    """
    level = magnitude / 10
    for choice in rng.integers(2 * len(_NAMES), size=num_layers):
        operation, sign = divmod(int(choice), 2)
        image = _distort(image, _NAMES[operation], level if sign else -level)
    return image


def trivial_augment(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply one operation of a random strength to uint8 `[H, W, 3]`.

    The result may be `image` itself.
    """
    operation, step = divmod(int(rng.integers(len(_NAMES) * (_WIDE_STEPS + 1))), _WIDE_STEPS + 1)
    amount = LARGEST[_NAMES[operation]][1] * step / _WIDE_STEPS
    return OPERATIONS[_NAMES[operation]](image, amount if rng.integers(2) else -amount)


def auto_augment(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply a pair of operations of `IMAGENET_POLICY`, each with its probability.

    `image` is uint8 `[H, W, 3]`. The result may be `image` itself.
    """
    pair = IMAGENET_POLICY[rng.integers(len(IMAGENET_POLICY))]
    draws = zip(pair, rng.random(2), rng.integers(2, size=2), strict=True)
    for (name, probability, magnitude), draw, sign in draws:
        if draw < probability:
            image = _distort(image, name, (magnitude if sign else -magnitude) / 9)
    return image


def color_jitter(
    image: np.ndarray, rng: np.random.Generator, strengths: tuple[float, float, float, float]
) -> np.ndarray:
    """Change brightness, contrast, saturation and hue in a random order, as torchvision does.

    The first three are multiplied by a factor that is uniform between max(0, 1 - strength) and 1 +
    strength. The hue is rotated by up to its strength, in turns, either way. A strength of 0 leaves
    its property as it is. `image` is uint8 `[H, W, 3]`; the result may be `image` itself.
    """
    for which in rng.permutation(len(_JITTERED)):
        name, strength = _JITTERED[which], strengths[which]
        if strength:
            amount = rng.uniform(max(-1, -strength), strength)
            image = OPERATIONS[name](image, amount)
    return image


def _distort(image: np.ndarray, name: str, level: float) -> np.ndarray:
    """Apply an operation at a level from -1 to 1 of AutoAugment's range."""
    largest = LARGEST[name][0] if name in LARGEST else 0
    side = image.shape[_AXIS[name]] if name in _AXIS else 1
    return OPERATIONS[name](image, largest * level * side)


# Policies without options, by their value of `augment.policy`.
POLICIES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "trivialaugment": trivial_augment,
    "autoaugment": auto_augment,
}
