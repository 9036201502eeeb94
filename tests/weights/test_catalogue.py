"""The published weights: known networks, plausible facts, addresses as in the sources."""

import re

import pytest

from netzoo.models import create_model, model_entry
from netzoo.weights import CATALOGUE, list_weights


@pytest.mark.parametrize("name", CATALOGUE)
def test_entry(name):
    """The network exists with these options, and the facts are of the right kind and size."""
    weights = CATALOGUE[name]
    assert weights.name == name and name.split(".")[0] == weights.model
    create_model(weights.model, weights.num_classes, **weights.options)
    assert re.fullmatch(r"https://\S+/[\w.-]+\.(pth|npz)", weights.address)
    assert weights.licence and weights.source
    assert weights.sha256 is None or re.fullmatch(r"[0-9a-f]{8,64}", weights.sha256)
    preprocessing = weights.preprocessing
    assert preprocessing.crop_size <= preprocessing.resize_size
    assert all(50 < value < 130 for value in (*preprocessing.mean, *preprocessing.std))


def test_accuracies_are_those_of_the_registry():
    """Two tables with the same figure, of torchvision's first weights, must agree."""
    for name in list_weights("*.tv_in1k"):
        entry = model_entry(CATALOGUE[name].model)
        if entry.source.endswith("IMAGENET1K_V1"):
            assert CATALOGUE[name].accuracy == entry.accuracy


def test_addresses_are_files_of_their_own():
    """A file for each name."""
    assert len({weights.address for weights in CATALOGUE.values()}) == len(CATALOGUE)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mobilenet_v2.tv_in1k", "mobilenet_v2-b0353104.pth"),
        ("resnet50.tv2_in1k", "resnet50-11ad3fa6.pth"),
        (
            "vit_l16.augreg_in21k_ft_in1k_384",
            "L_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.1-sd_0.1--imagenet2012-steps_20k"
            "-lr_0.01-res_384.npz",
        ),
        (
            "r50_l32.augreg_in21k",
            "R50_L_32-i21k-300ep-lr_0.001-aug_medium2-wd_0.1-do_0.0-sd_0.0.npz",
        ),
    ],
)
def test_addresses(name, file):
    """Put together from the tables as they stand in torchvision's and timm's sources."""
    assert CATALOGUE[name].address.rsplit("/", 1)[1] == file


def test_list_weights():
    """Sorted names that match a pattern."""
    assert list_weights("resnet50*") == ["resnet50.tv2_in1k", "resnet50.tv_in1k"]
    assert list_weights() == sorted(CATALOGUE)
