"""Descriptions of published weights and of the projects that publish them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
from ml_collections import ConfigDict

from netzoo.config import rules
from netzoo.errors import UserError
from netzoo.weights.state_dict import Layout

_LARGEST = 1e6  # of means and deviations, in magnitude; float32 holds what they give


class Preprocessing(NamedTuple):
    """The preprocessing of an image for a network."""

    mean: tuple[float, float, float]  # subtracted from red, green and blue in 0 to 255
    std: tuple[float, float, float]  # divisor after subtracting the mean
    resize_size: int  # length of the shorter side after resizing, in pixels
    crop_size: int  # side of the central crop after resizing, in pixels
    # "bilinear", "bicubic", "hamming" or, in runs of netzoo, "area"; see
    # `netzoo.data.transforms.resize`.
    interpolation: str
    # timm's name: "center" keeps the aspect ratio; "squash" resizes both sides to `resize_size`.
    crop_mode: str = "center"

    @classmethod
    def of_run(cls, config: ConfigDict) -> "Preprocessing":
        """Return the preprocessing of the evaluation of an image-classification run."""
        data, resize_size = config.data, config.data.image_size / config.evaluation.crop_pct
        return cls(tuple(data.mean), tuple(data.std), round(resize_size), data.image_size, "area")

    @classmethod
    def checked(
        cls,
        mean: Any,
        std: Any,
        resize_size: Any,
        crop_size: Any,
        interpolation: Any,
        crop_mode: Any = "center",
    ) -> "Preprocessing":
        """Return the preprocessing that a file describes, which may be damaged.

        Raises:
          TypeError: A value has another type.
          ValueError: A value is out of range.
        """
        red, green, blue = (_within(-_LARGEST, _LARGEST, value, "mean") for value in mean)
        deviations = tuple(_within(1 / _LARGEST, _LARGEST, value, "std") for value in std)
        sizes = int(resize_size), int(crop_size)
        if not rules.IMAGE_SIZE.holds(sizes[1]):
            raise ValueError(
                f"expected {rules.IMAGE_SIZE.wanted} for crop_size, got {crop_size!r:.60}"
            )
        if not (0 < sizes[0] < _LARGEST and rules.CROP_PCT.holds(sizes[1] / sizes[0])):
            raise ValueError(
                f"expected a crop_size of {rules.CROP_PCT.wanted} times the resize_size, got "
                f"{sizes[1]} and {resize_size!r:.60}"
            )
        methods = (
            (rules.INTERPOLATION, "interpolation", interpolation),
            (rules.CROP_MODE, "crop_mode", crop_mode),
        )
        for rule, name, value in methods:
            if not rule.holds(value):
                raise ValueError(f"expected {rule.wanted} for {name}, got {value!r:.60}")
        red_std, green_std, blue_std = deviations
        std = (red_std, green_std, blue_std)
        return cls((red, green, blue), std, *sizes, interpolation, crop_mode)

    def normalize(self, pixels: np.ndarray) -> np.ndarray:
        """Normalise RGB pixels, uint8 `[..., 3]`, to the float32 input of a network.

        Raises:
          UserError: The pixels have another dtype and may already be normalised.
        """
        if pixels.dtype != np.uint8 or pixels.shape[-1:] != (3,):
            raise UserError(
                "expected pixels uint8 [..., 3] with red, green and blue from 0 to 255; got "
                f"{pixels.dtype} {pixels.shape}"
            )
        mean, std = (np.asarray(values, np.float32) for values in (self.mean, self.std))
        return (pixels.astype(np.float32) - mean) / std

    def at(self, image_size: int) -> "Preprocessing":
        """Return the preprocessing for another crop size, with the same ratio of both sizes."""
        resize_size = round(self.resize_size * image_size / self.crop_size)
        return self._replace(resize_size=resize_size, crop_size=image_size)


def _within(low: float, high: float, value: Any, name: str) -> float:
    if not low <= value <= high:
        raise ValueError(f"expected {low:g} to {high:g} for {name}, got {value!r:.60}")
    return float(value)


# The usual preprocessing of other projects.
_IMAGENET_MEAN, _IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_HALF = (127.5, 127.5, 127.5)
TORCHVISION_IMAGES = Preprocessing(_IMAGENET_MEAN, _IMAGENET_STD, 256, 224, "bilinear")
TIMM_IMAGES = TORCHVISION_IMAGES._replace(interpolation="bicubic")
KERAS_IMAGES = Preprocessing(_HALF, _HALF, 256, 224, "bilinear")
GOOGLE_IMAGES = Preprocessing(_HALF, _HALF, 248, 224, "bicubic")


class PublishedWeights(NamedTuple):
    """A file of weights published by another project."""

    name: str  # `MODEL.TAG`
    model: str  # name in netzoo's registry
    num_classes: int  # 0 for weights without a head
    options: dict[str, Any]  # options of `create_model`
    address: str  # of the file, or `hf:ORG/NAME` on the Hugging Face Hub
    sha256: str | None  # of the file, or its first digits; None if it is not published
    licence: str
    preprocessing: Preprocessing
    accuracy: float | None  # top-1 on ImageNet's validation images at `crop_size`, in percent
    source: str  # of the accuracy, or ""
    timm: str  # timm's name of the weights, or ""


class Project(NamedTuple):
    """The tensor names and the usual settings of a family in another project.

    The settings are here because files of weights do not contain them.
    """

    layout: Callable[[Any, Any], Layout]  # tensor names for a network: `layout(module, shapes)`
    preprocessing: Preprocessing | None = None  # usual preprocessing; None for text
    options: Mapping[str, Any] = MappingProxyType({})  # usual options of `create_model`


class Family(NamedTuple):
    """Descriptions of the weights of a family of networks."""

    module: type[nn.Module]
    projects: Mapping[str, Project]  # by name, e.g. "timm"
    # Maps the name of a network without published weights to its top-1 accuracy on ImageNet, in
    # percent, and the source.
    reported: Mapping[str, tuple[float, str]] = {}
