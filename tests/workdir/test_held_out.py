"""The log of evaluations on the test split."""

import json

import pytest

from netzoo.errors import UserError
from netzoo.workdir.held_out import add_evaluation, summary

FIRST = {"checkpoint": "last", "step": 20, "weights": "ema", "settings": {"x": [1, 2]}, "loss": 0.5}


def test_the_log_tells_a_repetition_from_a_choice(tmp_path):
    """The same evaluation twice chooses nothing; other weights or settings may."""
    assert add_evaluation(tmp_path, FIRST) == 1
    assert add_evaluation(tmp_path, FIRST) == 2
    assert summary(tmp_path)["different"] == 1
    assert add_evaluation(tmp_path, {**FIRST, "checkpoint": "best", "step": 10}) == 3
    add_evaluation(tmp_path, {**FIRST, "settings": {"x": [1, 3]}})
    found = summary(tmp_path)
    assert (found["evaluations"], found["different"]) == (4, 3)
    times = [
        entry["time"] for entry in json.loads((tmp_path / "test_evaluations.json").read_text())
    ]
    assert [found["first"], found["last"]] == [times[0], times[-1]]
    assert times[0].endswith("+00:00")


@pytest.mark.parametrize("text", ["[]", "{", '[{"time": 1}]'])
def test_a_damaged_log(text, tmp_path):
    """Protects records from a traceback and from a log without entries."""
    (tmp_path / "test_evaluations.json").write_text(text)
    with pytest.raises(UserError, match="test_evaluations"):
        summary(tmp_path)
