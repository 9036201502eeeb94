"""What is known of published weights: address, licence, preprocessing, accuracy.

Names are `MODEL.TAG`, with timm's tags:

    tv_in1k, tv2_in1k              torchvision's IMAGENET1K_V1 and _V2
    augreg_in21k                   Google's AugReg on ImageNet-21k (21843 classes)
    augreg_in21k_ft_in1k[_384]     the same, then ImageNet-1k at 224 or 384 pixels
    augreg_in1k[_384]              Google's AugReg on ImageNet-1k alone

Each file in `netzoo.weights.families` lists those of its family.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn

from netzoo.weights.state_dict import Layout

IN21K, FINE_TUNED = "augreg_in21k", "augreg_in21k_ft_in1k"
FINE_TUNED_384 = "augreg_in21k_ft_in1k_384"
IN1K, IN1K_384 = "augreg_in1k", "augreg_in1k_384"


class Preprocessing(NamedTuple):
    """How an image becomes the input of a network.

    Attributes:
      mean: Mean of red, green and blue, subtracted, on the scale 0 to 255.
      std: Standard deviation, which divides after that, on the same scale.
      resize_size: Length of the shorter side after resizing, in pixels.
      crop_size: Side of the central crop after that, in pixels.
      interpolation: `"bilinear"`, `"bicubic"` or, in netzoo's own runs, `"area"`; see
        `netzoo.data.transforms.resize`.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize_size: int
    crop_size: int
    interpolation: str


class PublishedWeights(NamedTuple):
    """One file of another project.

    Attributes:
      name: `MODEL.TAG`.
      model: Name in netzoo's registry.
      num_classes: Length of the logits.
      options: Options that `create_model` needs.
      address: Where the file is downloaded from.
      sha256: SHA-256 of the file, or its first digits; None where none is published.
      licence: Licence of the file.
      preprocessing: What the weights expect of their input.
      accuracy: Reported top-1 on ImageNet's validation images, in percent.
      source: Where address and accuracy are published.
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


class Family(NamedTuple):
    """What is known of the weights of a family of networks.

    Attributes:
      module: Class of the networks.
      layouts: Project, e.g. `"timm"`, to the function that returns its names for the tensors of a
        network: `layout(module, shapes)`.
      published: Files that can be downloaded.
      reported: Name of a network without such a file to its top-1 accuracy on ImageNet, in
        percent, and the source of that figure.
    """

    module: type[nn.Module]
    layouts: Mapping[str, Callable[[Any, Any], Layout]]
    published: Sequence[PublishedWeights] = ()
    reported: Mapping[str, tuple[float, str]] = {}


def torchvision_weights(
    model: str, tag: str, file: str, resize_size: int, accuracy: float, **options
) -> PublishedWeights:
    """Returns a row of torchvision 0.29's weights enumerations, where all its facts stand.

    Args:
      model: Name in netzoo's registry.
      tag: `"tv_in1k"` or `"tv2_in1k"`.
      file: Name of the file, which ends with the first eight digits of its SHA-256.
      resize_size: Length of the shorter side before the crop, in pixels.
      accuracy: Top-1 in percent.
      **options: Options of `create_model`.
    """
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    return PublishedWeights(
        name=f"{model}.{tag}",
        model=model,
        num_classes=1000,
        options=options,
        address=f"https://download.pytorch.org/models/{file}",
        sha256=re.search(r"-([0-9a-f]{8})\.pth$", file)[1],
        licence="BSD-3-Clause; ImageNet's terms may bind too",
        preprocessing=Preprocessing(mean, std, resize_size, 224, "bilinear"),
        accuracy=accuracy,
        source="torchvision 0.29 weights enums",
    )


def google_weights(
    tag: str,
    model: str,
    network: str,
    augmentation: str,
    weight_decay: float,
    drop_rate: float,
    learning_rate: float,
) -> PublishedWeights:
    """Returns what is known of a file of Google's AugReg (Steiner et al., arXiv:2106.10270).

    Addresses and crops are those of timm 1.0.31's `default_cfgs` (vision_transformer.py,
    vision_transformer_hybrid.py), which gives no checksums.

    Args:
      tag: One of the tags above.
      model: Name in netzoo's registry.
      network: Google's name of the network.
      augmentation: Augmentation of the first training.
      weight_decay: Weight decay of the first training.
      drop_rate: Rate of dropout and of stochastic depth in the first training.
      learning_rate: Learning rate of the fine-tuning on ImageNet-1k.
    """
    data = "i21k" if "in21k" in tag else "i1k"
    size = 384 if tag.endswith("_384") else 224
    file = (
        f"{network}-{data}-300ep-lr_0.001-aug_{augmentation}-wd_{weight_decay}"
        f"-do_{drop_rate}-sd_{drop_rate}"
    )
    if tag != IN21K:
        file += f"--imagenet2012-steps_20k-lr_{learning_rate}-res_{size}"
    half = (127.5, 127.5, 127.5)
    # timm's `crop_pct` is 0.9 at 224 pixels and 1 at 384.
    resize_size = {224: 248, 384: 384}[size]
    return PublishedWeights(
        name=f"{model}.{tag}",
        model=model,
        num_classes=21843 if tag == IN21K else 1000,
        options={"gelu_approximate": True},
        address=f"https://storage.googleapis.com/vit_models/augreg/{file}.npz",
        sha256=None,
        licence="Apache-2.0",
        preprocessing=Preprocessing(half, half, resize_size, size, "bicubic"),
        accuracy=None,
        source="timm 1.0.31 default_cfgs",
    )
