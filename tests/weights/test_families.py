"""The published weights: known networks, plausible facts, and the addresses of their sources."""

import re

import pytest

from netzoo.models import create_model, model_entry
from netzoo.weights import CATALOGUE, list_weights, reported_accuracy
from netzoo.weights.families import REPORTED


@pytest.mark.parametrize("name", CATALOGUE)
def test_entry(name):
    """The network exists with these options, and the facts have plausible types and values."""
    weights = CATALOGUE[name]
    assert weights.name == name and name.split(".")[0] == weights.model
    create_model(weights.model, weights.num_classes, **weights.options)
    assert re.fullmatch(r"https://\S+/[\w.-]+\.(pth|npz)", weights.address)
    assert weights.licence and weights.source
    assert weights.sha256 is None or re.fullmatch(r"[0-9a-f]{8,64}", weights.sha256)
    preprocessing = weights.preprocessing
    assert preprocessing.crop_size <= preprocessing.resize_size
    assert all(50 < value < 130 for value in (*preprocessing.mean, *preprocessing.std))


def test_reported_accuracy():
    """Torchvision's first weights come before the authors'; a network may have neither."""
    assert reported_accuracy("resnet50") == (
        76.130,
        f"resnet50.tv_in1k, {CATALOGUE['resnet50.tv_in1k'].source}",
    )
    assert reported_accuracy("mobilenet_v1_025")[0] == 49.8
    assert reported_accuracy("alexnet") is None
    for name, (accuracy, source) in REPORTED.items():
        assert model_entry(name) and 45 < accuracy < 80 and source
        assert f"{name}.tv_in1k" not in CATALOGUE


def test_addresses_are_files_of_their_own():
    """Each name has its own file."""
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
    """The tables give the addresses in the sources of torchvision and timm."""
    assert CATALOGUE[name].address.rsplit("/", 1)[1] == file


def test_list_weights():
    """Sorted names that match a pattern."""
    assert list_weights("resnet50*") == ["resnet50.tv2_in1k", "resnet50.tv_in1k"]
    assert list_weights() == sorted(CATALOGUE)
