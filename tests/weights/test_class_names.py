"""The names of ImageNet's classes, and the class names that `netzoo.load` returns."""

import numpy as np
import pytest

import netzoo
from netzoo.errors import UserError
from netzoo.weights import save_safetensors
from netzoo.weights.class_names import imagenet_classes
from netzoo.weights.published import Preprocessing
from tests.weights.drawn import draw, shapes_of

MODEL = "mobilenet_v1_025"


def test_imagenet_has_a_thousand_names():
    """Protects the order of the classes, and the selection of classes by name."""
    names = imagenet_classes()
    assert len(set(names)) == len(names) == 1000
    # Classes as in the label lists of torchvision and Keras.
    known = {0: "tench", 281: "tabby", 285: "Egyptian cat", 967: "espresso", 985: "daisy"}
    known |= {134: "crane (bird)", 517: "crane (machine)", 999: "toilet tissue"}
    assert {index: names[index] for index in known} == known


def test_loaded_weights_make_a_predictor(tmp_path):
    """The class names come from the file; for a new head, they are None."""
    images = Preprocessing((0.0,) * 3, (255.0,) * 3, 32, 32, "bilinear")
    variables = draw(shapes_of(MODEL, 3)[1])
    path, names = tmp_path / "a.safetensors", ("cat", "dog", "owl")
    save_safetensors(path, variables, MODEL, preprocessing=images, class_names=names)
    loaded = netzoo.load(path)
    assert loaded.class_names == names and loaded.preprocessing == images
    assert netzoo.load(path, num_classes=2).class_names is None


def test_classes_by_name(tmp_path):
    """The head keeps the rows of the chosen classes, in the given order."""
    path, names = tmp_path / "a.safetensors", ("cat", "dog", "owl")
    save_safetensors(path, draw(shapes_of(MODEL, 3)[1]), MODEL, class_names=names)
    every, some = netzoo.load(path), netzoo.load(path, classes=["owl", "cat"])
    assert some.class_names == ("owl", "cat") and some.model.num_classes == 2
    for leaf in ("kernel", "bias"):
        kept = every.variables["params"]["logits"][leaf][..., [2, 0]]
        np.testing.assert_array_equal(some.variables["params"]["logits"][leaf], kept)
    for wrong, message in (
        (["owls"], "no class 'owls'. Did you mean 'owl'"),
        (["owl", "owl"], "different names"),
    ):
        with pytest.raises(UserError, match=message):
            netzoo.load(path, classes=wrong)
    save_safetensors(path, draw(shapes_of(MODEL, 3)[1]), MODEL)
    with pytest.raises(UserError, match="no class names to choose from"):
        netzoo.load(path, classes=["owl"])


@pytest.mark.slow
def test_a_predictor_without_names_numbers_the_classes(tmp_path):
    """Protects users of files without class names."""
    images = Preprocessing((0.0,) * 3, (255.0,) * 3, 32, 32, "bilinear")
    path = tmp_path / "a.safetensors"
    save_safetensors(path, draw(shapes_of(MODEL, 3)[1]), MODEL, preprocessing=images)
    predictor = netzoo.Predictor(*netzoo.load(path))
    assert predictor.class_names == ("class 0", "class 1", "class 2")
    assert predictor(np.zeros((32, 32, 3), np.uint8)).shape == (1, 3)
