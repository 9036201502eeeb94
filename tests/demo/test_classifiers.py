"""What the page shows of an image run: the Predictor's classes, a heat map, examples."""

import json

import numpy as np
import pytest

from netzoo.demo.classifiers import MOST_EXAMPLES, ImageRun
from netzoo.errors import UserError
from tests.conftest import COLORS, tiny_config
from tests.inspection.small import CLASSES, small_images, small_predictor


@pytest.fixture(scope="module")
def predictor():
    return small_predictor()


@pytest.fixture
def run(predictor, pictures, tmp_path):
    return ImageRun(tmp_path, tiny_config(pictures), predictor)


def test_classes_are_those_of_the_predictor_best_first(run, predictor):
    (image,) = small_images(1)
    explained = run.explain(image, run.layer)
    ((*expected,),) = predictor.top_k(predictor(image), 3)
    assert list(explained.scores) == [name for name, _ in expected]
    np.testing.assert_allclose(list(explained.scores.values()), [p for _, p in expected], 1e-6)
    assert set(explained.scores) == set(CLASSES)


def test_the_heat_map_is_large_and_belongs_to_the_layer(run):
    (image,) = small_images(1)
    assert (run.layers, run.layer) == (["stem", "stage1/block1"], "stage1/block1")
    last, stem = (run.explain(image, layer).heat_map for layer in reversed(run.layers))
    assert last.dtype == np.uint8 and last.shape == (528, 528, 3)  # 22 times 24 pixels
    assert np.abs(last.astype(int) - stem).mean() > 5


@pytest.mark.parametrize(
    ("image", "layer", "message"),
    [(b"text", "stem", "Cannot decode"), (np.zeros((9, 9, 3), np.uint8), "stm", "stem")],
)
def test_bad_input_is_one_message(image, layer, message, run):
    with pytest.raises(UserError, match=message):
        run.explain(image, layer)


def test_the_caption_is_the_accuracy_of_the_run(run, predictor, pictures, tmp_path):
    assert run.caption == ""
    found = {"accuracy": 0.9, "interval": [0.8, 0.95], "count": 1234, "split": "te\x1bst"}
    (tmp_path / "eval.json").write_text(json.dumps(found))
    caption = ImageRun(tmp_path, tiny_config(pictures), predictor).caption
    assert caption == "Accuracy 90.0% (95 % interval 80.0% to 95.0%) on 1,234 images of te\\x1bst"
    (tmp_path / "eval.json").write_text("{")
    assert ImageRun(tmp_path, tiny_config(pictures), predictor).caption == ""


def test_examples_are_of_every_class_and_of_the_test_split(run, tmp_path):
    examples = run.examples(tmp_path)
    assert len(examples) == MOST_EXAMPLES  # of the 11 images
    assert [name for _, name in examples[:3]] == sorted(COLORS)
    for path, _ in examples:
        run.explain(path.read_bytes(), run.layer)


def test_a_page_without_the_data_has_no_examples(predictor, tmp_path, capfd):
    run = ImageRun(tmp_path, tiny_config(tmp_path / "gone"), predictor)
    assert run.examples(tmp_path) == []
    assert "the page has no examples" in capfd.readouterr().err
