"""What is known of published weights: address, licence, preprocessing, accuracy.

Names are `MODEL.TAG`, with timm's tags:

    tv_in1k, tv2_in1k              torchvision's IMAGENET1K_V1 and _V2
    augreg_in21k                   Google's AugReg on ImageNet-21k (21843 classes)
    augreg_in21k_ft_in1k[_384]     the same, then ImageNet-1k at 224 or 384 pixels
    augreg_in1k[_384]              Google's AugReg on ImageNet-1k alone

Each file in `netzoo.weights.families` lists those of its family.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn

from netzoo.weights.state_dict import Layout

IN21K, FINE_TUNED = "augreg_in21k", "augreg_in21k_ft_in1k"
FINE_TUNED_384 = "augreg_in21k_ft_in1k_384"
IN1K, IN1K_384 = "augreg_in1k", "augreg_in1k_384"


class Preprocessing(NamedTuple):
    """How an image becomes the input of a network."""

    mean: tuple[float, float, float]  # of red, green and blue, subtracted, on the scale 0 to 255
    std: tuple[float, float, float]  # divides after that, on the same scale
    resize_size: int  # length of the shorter side after resizing, in pixels
    crop_size: int  # side of the central crop after that, in pixels
    # "bilinear", "bicubic" or, in netzoo's own runs, "area"; see `netzoo.data.transforms.resize`.
    interpolation: str


class PublishedWeights(NamedTuple):
    """One file of another project."""

    name: str  # `MODEL.TAG`
    model: str  # name in netzoo's registry
    num_classes: int
    options: dict[str, Any]  # that `create_model` needs
    address: str
    sha256: str | None  # of the file, or its first digits; None where none is published
    licence: str
    preprocessing: Preprocessing
    accuracy: float | None  # reported top-1 on ImageNet's validation images, in percent
    source: str  # where address and accuracy are published


class Family(NamedTuple):
    """What is known of the weights of a family of networks."""

    module: type[nn.Module]
    # Project, e.g. "timm", to the function that returns its names for the tensors of a network:
    # `layout(module, shapes)`.
    layouts: Mapping[str, Callable[[Any, Any], Layout]]
    published: Sequence[PublishedWeights] = ()
    # Name of a network without such a file to its top-1 accuracy on ImageNet, in percent, and the
    # source of that figure.
    reported: Mapping[str, tuple[float, str]] = {}


def torchvision_weights(
    *table: tuple[str, str, str, int, float], **options
) -> list[PublishedWeights]:
    """Returns files of torchvision 0.29's weights enumerations, the source of all their facts.

    A row is the model, the tag, the file's name, which ends with the first eight digits of its
    SHA-256, the length of the shorter side before the crop in pixels, and the top-1 accuracy in
    percent. `options` are those of `create_model`, for all rows.
    """
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    return [
        PublishedWeights(
            name=f"{model}.{tag}",
            model=model,
            num_classes=1000,
            options=options,
            address=f"https://download.pytorch.org/models/{file}",
            sha256=file.removesuffix(".pth")[-8:],
            licence="BSD-3-Clause; ImageNet's terms may bind too",
            preprocessing=Preprocessing(mean, std, resize_size, 224, "bilinear"),
            accuracy=accuracy,
            source="torchvision 0.29 weights enums",
        )
        for model, tag, file, resize_size, accuracy in table
    ]


def google_weights(
    *table: tuple[str, str, str, float, float, float, Sequence[str]],
) -> list[PublishedWeights]:
    """Returns what is known of files of Google's AugReg (Steiner et al., arXiv:2106.10270).

    Addresses and crops are those of timm 1.0.31's `default_cfgs` (vision_transformer.py,
    vision_transformer_hybrid.py), which gives no checksums.

    A row is the model, Google's name of it, the augmentation, the weight decay and the rate of
    dropout and stochastic depth in the first training, the learning rate of the fine-tuning on
    ImageNet-1k, and the tags of the files.
    """
    return [_google_file(tag, *row[:-1]) for row in table for tag in row[-1]]


def _google_file(
    tag: str, model: str, network: str, augmentation: str, decay: float, drop: float, rate: float
) -> PublishedWeights:
    data = "i21k" if "in21k" in tag else "i1k"
    # timm's `crop_pct` is 0.9 at 224 pixels and 1 at 384.
    size, resize_size = (384, 384) if tag.endswith("_384") else (224, 248)
    file = f"{network}-{data}-300ep-lr_0.001-aug_{augmentation}-wd_{decay}-do_{drop}-sd_{drop}"
    if tag != IN21K:
        file += f"--imagenet2012-steps_20k-lr_{rate}-res_{size}"
    half = (127.5, 127.5, 127.5)
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
