"""The catalogue has timm's published weights of netzoo's networks, with timm's settings."""

import json

import pytest

from netzoo.models import create_model
from netzoo.models.summary import variable_shapes
from netzoo.weights import CATALOGUE
from netzoo.weights.families import layouts
from netzoo.weights.state_dict import tensor_shapes
from parity.timm_tags import FIXTURE, digest

TIMM = json.loads(FIXTURE.read_text())
# The only published weights of these architectures that netzoo cannot load.
REFUSED = {
    "mobilenetv3_rw.rmsp_in1k": "its hidden layer has no bias",
    "vit_small_patch8_224.dino": "netzoo has no network with these widths and patches",
}
ROWS = {weights.timm: weights for weights in CATALOGUE.values() if weights.timm}


def test_all_but_two_tags_load():
    """Every tag of timm is a row of the catalogue, or has a reason."""
    assert ROWS.keys() == TIMM.keys() - REFUSED.keys()
    assert len(TIMM) == 159 and len(ROWS) == 157


def test_settings_are_those_of_timm():
    """Size, crop, interpolation, normalisation, classes and licence."""
    for name, weights in ROWS.items():
        theirs, images = TIMM[name], weights.preprocessing
        assert images.crop_size == theirs["size"], name
        assert images.resize_size == theirs["resize"], name
        assert images.interpolation == theirs["interpolation"], name
        assert images.mean == pytest.approx(theirs["mean"], abs=1e-3), name
        assert images.std == pytest.approx(theirs["std"], abs=1e-3), name
        assert weights.num_classes == theirs["classes"], name
        assert weights.licence.lower() == (theirs["licence"] or "not stated"), name


@pytest.mark.slow
def test_tensors_are_those_of_timm():
    """Names and shapes of all tensors, for every tag, from the shapes of netzoo's variables."""
    found: dict[tuple, str] = {}
    for name, weights in ROWS.items():
        size, classes = weights.preprocessing.crop_size, weights.num_classes
        # Only position embeddings depend on the image size.
        key = (weights.model, classes, size if name.startswith(("vit", "deit")) else 224)
        if key not in found:
            model = create_model(weights.model, classes, **weights.options)
            shapes = variable_shapes(model, size)
            found[key] = digest(tensor_shapes(layouts(model)["timm"](model, shapes), shapes))
        assert found[key] == TIMM[name]["tensors"], name
