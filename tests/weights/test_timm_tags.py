"""The catalogue has timm's published weights of netzoo's networks, with timm's settings."""

import json
from pathlib import Path

import pytest

from netzoo.models import create_model
from netzoo.models.summary import variable_shapes
from netzoo.weights import CATALOGUE
from netzoo.weights.families import layouts
from netzoo.weights.state_dict import tensor_shapes
from parity.timm_tags import FIXTURE, digest

TIMM = json.loads(FIXTURE.read_text())


def why_absent(name, facts):
    """Return why the catalogue leaves out weights of timm; None if it has them."""
    if name == "mobilenetv3_rw.rmsp_in1k":
        return "its hidden layer has no bias, and netzoo's has one"
    if "_clip_" in name and not name.endswith(("_ft_in1k", "_in12k_in1k")):
        return "the outputs are embeddings or classes of ImageNet-12k; load them by hf:timm/..."
    if facts["crop_mode"] != "center":
        return "timm changes the aspect ratio of the images; the catalogue lacks a column for this"
    return None


ROWS = {weights.timm: weights for weights in CATALOGUE.values() if weights.timm}


def test_every_tag_loads_or_has_a_reason():
    """The catalogue has every tag of timm, except those for which `why_absent` gives a reason."""
    absent = {name: why for name, facts in TIMM.items() if (why := why_absent(name, facts))}
    assert ROWS.keys() == TIMM.keys() - absent.keys()
    page = (Path(__file__).parents[2] / "docs" / "weights.md").read_text()
    assert f"publishes {len(TIMM)} weights of netzoo's networks" in page, len(TIMM)
    assert f"the catalogue has {len(ROWS)} of them" in page, len(ROWS)


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
        key += tuple(weights.options.items())
        if key not in found:
            model = create_model(weights.model, classes, **weights.options)
            shapes = variable_shapes(model, size)
            found[key] = digest(tensor_shapes(layouts(model)["timm"](model, shapes), shapes))
        assert found[key] == TIMM[name]["tensors"], name
