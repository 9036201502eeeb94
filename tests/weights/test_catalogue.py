"""The published weights: known networks, plausible facts, names and defaults."""

import re
from pathlib import Path

import pytest

from netzoo.errors import note_once
from netzoo.models import create_model, list_models, model_entry
from netzoo.weights import (
    CATALOGUE,
    default_weights,
    list_weights,
    published_weights,
    reported_accuracy,
)
from netzoo.weights.families import REPORTED
from tests.conftest import own_networks

# Nobody publishes weights of these networks in a format that netzoo reads.
WITHOUT = {
    *("alexnet", "googlenet", "googlenet_bn", "r26_b32", "vgg16_c"),
    *("transformer_base", "transformer_big", "transformer_tiny"),
}


def test_every_entry_is_complete():
    """The network exists with these options, and the facts have plausible types and values."""
    for name, weights in CATALOGUE.items():
        assert weights.name == name and name.split(".")[0] == weights.model in list_models()
        create_model(weights.model, weights.num_classes, **weights.options)
        file = r"https://\S+/[\w.-]+\.(pth|npz|h5)"
        assert re.fullmatch(rf"{file}|hf:timm/{re.escape(weights.timm)}", weights.address), name
        assert weights.licence in ("Apache-2.0", "BSD-3-Clause", "CC-BY-NC-4.0", "not stated")
        digits = re.search(r"-([0-9a-f]{8})\.pth$", weights.address)
        assert weights.sha256 == (digits[1] if digits else None), name
        images = weights.preprocessing
        assert 0.85 < images.crop_size / images.resize_size <= 1
        assert weights.accuracy is None or (45 < weights.accuracy < 90 and weights.source)
    assert len({weights.address for weights in CATALOGUE.values()}) == len(CATALOGUE)
    assert len({weights.timm for weights in CATALOGUE.values() if weights.timm}) > 100


def test_every_published_network_has_weights():
    """A new network gets its row in the catalogue."""
    assert {name for name in own_networks() if default_weights(name) is None} == WITHOUT


def page_table():
    """Return the table of the page on weights: every network with published weights."""
    rows = []
    for name in own_networks():
        if best := default_weights(name):
            tag, size = best.name.partition(".")[2], best.preprocessing.crop_size
            accuracy = "-" if best.accuracy is None else f"{best.accuracy:.1f}"
            count = sum(weights.model == name for weights in CATALOGUE.values())
            rows.append(f"| `{name}` | `{tag}` | {size} | {accuracy} | {count} |")
    return "\n".join(rows)


def test_the_page_lists_every_network():
    """Protects readers of docs/weights.md; put the new table there if the catalogue changed."""
    page = Path(__file__).parents[2] / "docs" / "weights.md"
    assert f"|---|---|--:|--:|--:|\n{page_table()}\n\n" in page.read_text(), page_table()


def test_the_numbers_in_the_documents():
    """README and the changelog count weights and networks."""
    networks = {weights.model for weights in CATALOGUE.values()}
    text = f"{len(CATALOGUE)} published weights of {len(networks)} networks"
    for name in ("README.md", "CHANGELOG.md"):
        assert text in (Path(__file__).parents[2] / name).read_text(), text


def test_reported_accuracy():
    """The accuracy is that of the default weights; a network without weights may have one."""
    expected = (81.240, "resnet50.a1_in1k, timm's results-imagenet.csv")
    assert reported_accuracy("resnet50") == expected
    assert reported_accuracy("googlenet")[0] == 68.7 and reported_accuracy("alexnet") is None
    for name, (accuracy, source) in REPORTED.items():
        assert model_entry(name) and 45 < accuracy < 80 and source and name in WITHOUT


def test_the_default_is_the_best_for_everybody(capsys):
    """Licences against commercial use and larger images come last; a note names the choice."""
    nc = CATALOGUE["resnext101_32x8d.fb_swsl_ig1b_ft_in1k"]
    assert nc.accuracy > default_weights("resnext101_32x8d").accuracy
    larger = CATALOGUE["vit_b16.augreg_in21k_ft_in1k_384"]
    assert larger.accuracy > default_weights("vit_b16").accuracy
    assert default_weights("vit_b16").name == "vit_b16.augreg2_in21k_ft_in1k"
    note_once.cache_clear()
    assert published_weights("resnet50").name == "resnet50.a1_in1k"
    said = "resnet50: taking resnet50.a1_in1k, 288 px, 81.2 % on ImageNet, licence Apache-2.0\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("resnet50.a1_in1k", "resnet50.a1_in1k"),
        ("vit_base_patch16_384.augreg_in21k_ft_in1k", "vit_b16.augreg_in21k_ft_in1k_384"),
        ("tf_mobilenetv3_large_100.in1k", "mobilenet_v3_large.tf_in1k"),
        ("vit_base_patch16_384", "vit_b16.augreg_in21k_ft_in1k_384"),
        ("mobilenetv2_100", "mobilenet_v2.ra_in1k"),
        ("resnet5", None),
    ],
)
def test_names(name, found):
    """Weights are known by netzoo's name and by timm's; a network stands for its best weights."""
    weights = published_weights(name)
    assert (weights and weights.name) == found


@pytest.mark.parametrize(
    ("name", "file", "resize", "options"),
    [
        ("mobilenet_v2.tv_in1k", "mobilenet_v2-b0353104.pth", 256, {"norm_epsilon": 1e-5}),
        ("resnet50.tv2_in1k", "resnet50-11ad3fa6.pth", 232, {"padding": "torch"}),
        ("resnet50.a1_in1k", "resnet50_a1_0-14fe96d1.pth", 288, {"padding": "torch"}),
        (
            "vit_l16.augreg_in21k_ft_in1k_384",
            "L_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.1-sd_0.1--imagenet2012-steps_20k"
            "-lr_0.01-res_384.npz",
            384,
            {"gelu_approximate": True},
        ),
        (
            "mobilenet_v3_large.tf_in1k",
            "tf_mobilenetv3_large_100-427764d5.pth",
            256,
            {"padding": "same", "norm_epsilon": 1e-3},
        ),
        ("mobilenet_v1_025.keras_in1k", "mobilenet_2_5_224_tf.h5", 256, {"padding": "same"}),
    ],
)
def test_examples(name, file, resize, options):
    """The file gives the addresses, the sizes and the options of the sources."""
    weights = CATALOGUE[name]
    assert weights.address.rsplit("/", 1)[1] == file
    assert (
        weights.preprocessing.resize_size == resize and options.items() <= weights.options.items()
    )


def test_list_weights():
    """Sorted names that match a pattern."""
    assert list_weights("resnet50.tv*") == ["resnet50.tv2_in1k", "resnet50.tv_in1k"]
    assert list_weights() == sorted(CATALOGUE)
