"""Published weights by name: where they lie, what they need, what they reach.

Names are `MODEL.TAG`, with timm's tags:

    tv_in1k, tv2_in1k              torchvision's IMAGENET1K_V1 and _V2
    augreg_in21k                   Google's AugReg on ImageNet-21k (21843 classes)
    augreg_in21k_ft_in1k[_384]     the same, then ImageNet-1k at 224 or 384 pixels
    augreg_in1k[_384]              Google's AugReg on ImageNet-1k alone
"""

import fnmatch
import re
from typing import Any, NamedTuple

from netzoo.weights.published import GOOGLE, GOOGLE_SOURCE, TORCHVISION, TORCHVISION_SOURCE


class Preprocessing(NamedTuple):
    """What happens to an image before the network.

    Attributes:
      mean: Of red, green and blue, subtracted, on the scale 0 to 255.
      std: Divides after that, on the same scale.
      resize_size: Length of the shorter side after resizing, in pixels.
      crop_size: Side of the central crop, in pixels.
      interpolation: Of the resizing, which is antialiased.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize_size: int
    crop_size: int
    interpolation: str


class PublishedWeights(NamedTuple):
    """One file of somebody else's.

    Attributes:
      name: `MODEL.TAG`.
      model: Name in netzoo's registry.
      num_classes: Length of the logits.
      options: That `create_model` needs besides.
      address: Of the download.
      sha256: Of the file, or its first digits; None where nobody published it.
      licence: Under which it is given away.
      preprocessing: It was trained for.
      accuracy: Reported top-1 on ImageNet's validation images, in percent.
      source: Where address and accuracy stand.
    """

    name: str
    model: str
    num_classes: int
    options: dict[str, Any]
    address: str
    sha256: str | None
    licence: str
    preprocessing: Preprocessing
    accuracy: float | None
    source: str


TORCHVISION_ADDRESS = "https://download.pytorch.org/models/"
TORCHVISION_LICENCE = "BSD-3-Clause; ImageNet's terms may bind too"
TORCHVISION_OPTIONS = {"googlenet_tv": {"transform_input": True}}
IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

GOOGLE_ADDRESS = "https://storage.googleapis.com/vit_models/augreg/"
GOOGLE_LICENCE = "Apache-2.0"
# Crop to resized side: timm's `crop_pct` is 0.9 at 224 pixels and 1 at 384.
GOOGLE_RESIZE_SIZES = {224: 248, 384: 384}
GOOGLE_OPTIONS = {"gelu_approximate": True}
HALF = (127.5, 127.5, 127.5)
CLASSES, CLASSES_21K = 1000, 21843


def _of_torchvision(model: str, tag: str, file: str, resize: int, accuracy: float):
    return PublishedWeights(
        name=f"{model}.{tag}",
        model=model,
        num_classes=CLASSES,
        options=TORCHVISION_OPTIONS.get(model, {}),
        address=TORCHVISION_ADDRESS + file,
        sha256=re.search(r"-([0-9a-f]{8})\.pth$", file)[1],
        licence=TORCHVISION_LICENCE,
        preprocessing=Preprocessing(IMAGENET_MEAN, IMAGENET_STD, resize, 224, "bilinear"),
        accuracy=accuracy,
        source=TORCHVISION_SOURCE,
    )


def _of_google(
    model: str,
    tag: str,
    network: str,
    augmentation: str,
    weight_decay: float,
    drop_rate: float,
    learning_rate: float | None,
):
    data = "i21k" if "in21k" in tag else "i1k"
    size = 384 if tag.endswith("_384") else 224
    file = (
        f"{network}-{data}-300ep-lr_0.001-aug_{augmentation}-wd_{weight_decay}"
        f"-do_{drop_rate}-sd_{drop_rate}"
    )
    if learning_rate is not None:
        file += f"--imagenet2012-steps_20k-lr_{learning_rate}-res_{size}"
    return PublishedWeights(
        name=f"{model}.{tag}",
        model=model,
        num_classes=CLASSES if tag != "augreg_in21k" else CLASSES_21K,
        options=GOOGLE_OPTIONS,
        address=f"{GOOGLE_ADDRESS}{file}.npz",
        sha256=None,
        licence=GOOGLE_LICENCE,
        preprocessing=Preprocessing(HALF, HALF, GOOGLE_RESIZE_SIZES[size], size, "bicubic"),
        accuracy=None,
        source=GOOGLE_SOURCE,
    )


CATALOGUE: dict[str, PublishedWeights] = {
    weights.name: weights
    for weights in (
        *(_of_torchvision(*row) for row in TORCHVISION),
        *(_of_google(*row) for row in GOOGLE),
    )
}

_SLIM = "TF-slim's table of MobileNet{} checkpoints"
# Top-1 and its source for networks whose published weights are not in the catalogue.
REPORTED: dict[str, tuple[float, str]] = {
    "googlenet": (68.7, "readme of Caffe's bvlc_googlenet"),
    "mobilenet_v1_025": (49.8, _SLIM.format("V1")),
    "mobilenet_v1_050": (63.3, _SLIM.format("V1")),
    "mobilenet_v1_075": (68.4, _SLIM.format("V1")),
    "mobilenet_v1": (70.9, _SLIM.format("V1")),
    "mobilenet_v2_035": (60.3, _SLIM.format("V2")),
    "mobilenet_v2_050": (65.4, _SLIM.format("V2")),
    "mobilenet_v2_075": (69.8, _SLIM.format("V2")),
    "mobilenet_v2_130": (74.4, _SLIM.format("V2")),
    "mobilenet_v2_140": (75.0, _SLIM.format("V2")),
    "mobilenet_v3_large_075": (73.3, _SLIM.format("V3")),
    "mobilenet_v3_large_minimalistic": (72.3, _SLIM.format("V3")),
    "mobilenet_v3_small_075": (65.4, _SLIM.format("V3")),
    "mobilenet_v3_small_minimalistic": (61.9, _SLIM.format("V3")),
}


def reported_accuracy(model: str) -> tuple[float, str] | None:
    """Returns the top-1 accuracy of a network on ImageNet, in percent, and where it stands.

    It is that of torchvision's first weights, where the catalogue has them, or else of the weights
    that the network was published with; None if neither is known.
    """
    if weights := CATALOGUE.get(f"{model}.tv_in1k"):
        return weights.accuracy, f"{weights.name}, {weights.source}"
    return REPORTED.get(model)


def list_weights(pattern: str = "*") -> list[str]:
    """Returns the sorted names that match a shell pattern, e.g. `"resnet*"`.

    Each can be given to `netzoo.load_weights`; `CATALOGUE[name]` is what is known of it.
    """
    return sorted(fnmatch.filter(CATALOGUE, pattern))
