"""The catalogue of published weights, in `catalogue.csv`.

A row of the file names the weights, `MODEL.TAG`, and has these columns:

    timm            timm's name of the same weights, which `netzoo.load` also accepts
    project         the project whose tensor names and options (`netzoo.weights.families`) they have
    classes         length of the logits; 0 for weights without a head
    options         further options of `create_model`
    address         of the file, or `hf:ORG/NAME` on the Hugging Face Hub
    sha256          of the file, or the first digits that its name has
    size, resize    sides after and before the central crop, in pixels
    interpolation   of Pillow, antialiased
    norm            mean and deviation, see `NORMS`
    accuracy        top-1 accuracy on ImageNet's validation images at this size, in percent
    source          of the accuracy, see `SOURCES`

Tags are timm's. `tf_` marks weights from TensorFlow, and a size such as `_384` weights for images
that are larger than the network's usual ones. The facts are from timm 1.0.31 (`default_cfgs`, with
the test size where timm has one), from the weights enumerations of torchvision 0.29, and from Keras
3 (`keras.applications`).
"""

import ast
import csv
import fnmatch
import re
from pathlib import Path

from netzoo.errors import note_once
from netzoo.files import read_text
from netzoo.models.registry import create_model
from netzoo.weights.families import FAMILIES, REPORTED
from netzoo.weights.licence import is_free
from netzoo.weights.published import (
    GOOGLE_IMAGES,
    TORCHVISION_IMAGES,
    Preprocessing,
    PublishedWeights,
)

_CLIP = ((122.7709383, 116.7460125, 104.09373615), (68.5005327, 66.6321579, 70.32316305))
NORMS = {
    "imagenet": TORCHVISION_IMAGES[:2],  # the mean and the deviation of ImageNet's pixels
    "half": GOOGLE_IMAGES[:2],  # pixels from -1 to 1
    "unit": ((0.0,) * 3, (255.0,) * 3),  # pixels from 0 to 1
    "clip": _CLIP,  # of CLIP's training images
}
SOURCES = {
    "torchvision": "torchvision 0.29 weights enums",
    "timm": "timm's results-imagenet.csv",  # with exact GELU in every ViT
    "TF-slim": "TF-slim's table of checkpoints, from which Keras converted the weights",
    "": "",
}
_SIZED = re.compile(r".*_\d{3}")  # tags of weights for another size than the network's usual one


def _read() -> dict[str, PublishedWeights]:
    text = read_text(Path(__file__).with_name("catalogue.csv"))
    return {row["name"]: _entry(row) for row in csv.DictReader(text.splitlines())}


def _entry(row: dict[str, str]) -> PublishedWeights:
    model = row["name"].partition(".")[0]
    options = dict(FAMILIES[type(create_model(model))].projects[row["project"]].options)
    for part in row["options"].split():
        option, _, value = part.partition("=")
        options[option] = ast.literal_eval(value)
    mean, std = NORMS[row["norm"]]
    sizes = int(row["resize"]), int(row["size"])
    return PublishedWeights(
        name=row["name"],
        model=model,
        num_classes=int(row["classes"]),
        options=options,
        address=row["address"],
        sha256=row["sha256"] or None,
        licence=row["licence"],
        preprocessing=Preprocessing(mean, std, *sizes, row["interpolation"]),
        accuracy=float(row["accuracy"]) if row["accuracy"] else None,
        source=SOURCES[row["source"]],
        timm=row["timm"],
    )


CATALOGUE = _read()


def list_weights(pattern: str = "*") -> list[str]:
    """Return the sorted names of published weights that match a shell pattern, e.g. `"resnet*"`.

    `netzoo.load` accepts each name; `CATALOGUE[name]` describes the weights.
    """
    return sorted(fnmatch.filter(CATALOGUE, pattern))


def default_weights(model: str) -> PublishedWeights | None:
    """Return the best published weights of a network in the registry, None without any.

    The criteria, the most important first: the licence allows commercial use, the weights have a
    head, they were made for the network's usual image size, and their accuracy is the highest.
    """
    return _best([weights for weights in CATALOGUE.values() if weights.model == model])


def _best(candidates: list[PublishedWeights]) -> PublishedWeights | None:
    def rank(weights: PublishedWeights) -> tuple[bool, bool, bool, float]:
        classifies, usual = weights.num_classes > 0, not _SIZED.fullmatch(weights.name)
        return is_free(weights.licence), classifies, usual, weights.accuracy or 0.0

    return max(candidates, key=rank, default=None)


def published_weights(name: str) -> PublishedWeights | None:
    """Return the weights that a name means, or None.

    The name is one of the catalogue, timm's name of the same weights, or the name of a network in
    netzoo or timm. The name of a network stands for its best weights, and a note names these.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    for weights in CATALOGUE.values():
        if weights.timm == name:
            return weights
    of_timm = [w for w in CATALOGUE.values() if w.timm.partition(".")[0] == name]
    if (best := default_weights(name) or _best(of_timm)) is not None:
        note_once(f"{name}: taking {best.name}, {described(best)}")
    return best


def described(weights: PublishedWeights) -> str:
    """Return image size, accuracy and licence of weights in a few words."""
    accuracy = f"{weights.accuracy:.1f} % on ImageNet, " if weights.accuracy is not None else ""
    return f"{weights.preprocessing.crop_size} px, {accuracy}licence {weights.licence}"


def reported_accuracy(model: str) -> tuple[float, str] | None:
    """Return the top-1 accuracy of a network on ImageNet, in percent, and its source.

    The accuracy is that of the network's best published weights. The result is None if it is not
    known.
    """
    weights = default_weights(model)
    if weights is None or weights.accuracy is None:
        return REPORTED.get(model)
    return weights.accuracy, f"{weights.name}, {weights.source}"
