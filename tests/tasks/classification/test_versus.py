"""Comparisons of two evaluations on the same images."""

import json

import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.tasks.classification.predictions import Prediction, write_predictions
from netzoo.tasks.classification.versus import (
    Evaluation,
    compare,
    comparison_lines,
    read_evaluation,
)

CLASSES = ("daisy", "roses")
NAMES = [f"{i}.png" for i in range(12)]


class Names:
    name, split, names = "folder:photos", "test", NAMES

    def __len__(self):
        return len(self.names)


def evaluation(folder, names=NAMES, classes=CLASSES, left_out=0, wrong=()):
    """Write an evaluation that is right except for the examples `wrong`."""
    predictions = (
        Prediction(name, "daisy", "roses" if name in wrong else "daisy", 0.5, 0.5) for name in names
    )
    write_predictions(folder / "eval_predictions.csv", predictions)
    scores = {
        **{"accuracy": 0.5, "interval": [0.3, 0.7], "macro_recall": 0.5, "left_out": left_out},
        "per_class": [{"name": name, "recall": None} for name in classes],
        "calibration": {"expected_calibration_error": 0.125},
    }
    (folder / "eval.json").write_text(json.dumps(scores))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": [*NAMES[1:], "x.png"]}, r"x\.png and 0 more are not in folder:photos test \(12"),
        ({"names": NAMES[:5]}, r"on 5 of folder:photos test .*5\.png is missing"),
        ({"names": NAMES[:11], "left_out": 0}, r"11\.png is missing"),
        ({"classes": ("daisy", "tulips")}, "its classes are daisy, tulips; expected daisy, roses"),
    ],
)
def test_other_images_are_refused_with_the_reason(changes, message, tmp_path):
    """A paired test needs the same images in both runs."""
    with pytest.raises(UserError, match=message):
        read_evaluation(evaluation(tmp_path, **changes), Names(), CLASSES)


def test_a_run_that_was_not_evaluated(tmp_path):
    """The message names the command that is missing."""
    with pytest.raises(UserError, match=f"no eval.json.*netzoo eval --workdir {tmp_path}"):
        read_evaluation(tmp_path, Names(), CLASSES)


def test_classes_and_images_may_come_in_any_order(tmp_path):
    """Names decide what belongs together; an image that one run cannot read is left out."""
    folder = evaluation(tmp_path, NAMES[:0:-1], CLASSES[::-1], left_out=1, wrong=["11.png"])
    other = read_evaluation(folder, Names(), CLASSES)
    found = compare(other, NAMES, np.array([name not in ("2.png", "3.png") for name in NAMES]))
    assert found["count"] == 11
    assert found["right_here_alone"] == ["11.png"]
    assert found["right_there_alone"] == ["2.png", "3.png"]
    assert found["difference"] == pytest.approx(-1 / 11)
    low, high = found["difference_interval"]
    assert low < -1 / 11 < high
    assert found["p_value"] == 1.0 and found["expected_calibration_error"] == 0.125
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("wrong", "p_value", "words"), [(5, 0.0625, "may be due to"), (6, 0.03125, "unlikely")]
)
def test_the_verdict_follows_the_exact_test(wrong, p_value, words):
    """Five and six images that only one run gets right lie on both sides of 5 %: 2 / 2**n."""
    rows = {
        name: Prediction(name, "daisy", "roses" if i < wrong else "daisy", 0.5, 0.5)
        for i, name in enumerate(NAMES)
    }
    scores = {"accuracy": 0.5, "interval": [0, 1], "macro_recall": 0.5, "per_class": []}
    found = compare(Evaluation("runs/other", scores, rows), NAMES, np.ones(12, bool))
    assert found["p_value"] == pytest.approx(p_value, rel=1e-12)
    first, second = comparison_lines(found)
    assert words in second and f"right alone: {wrong} here, 0 there" in second
    assert first.startswith("runs/other: accuracy 50.00%; difference +")
