"""Records of runs on images with any number of classes."""

import pytest

from netzoo.cli.record import make_record, results_tables
from tests.cli import test_record
from tests.cli.test_record import OLD_RECORD, change, read, write

workdir = test_record.workdir  # a fixture


@pytest.fixture
def multi_label(workdir):
    """A run on images with any number of classes."""
    change(workdir / "config.json", "data", "multi_label", value=True)
    for name in ("accuracy", "interval"):
        change(workdir / "eval.json", name, value=None)
    scores = {"mean_average_precision": 0.8125, "micro_f1": 0.75, "macro_f1": 0.5}
    write(workdir / "eval.json", {**read(workdir / "eval.json"), **scores, "multi_label": True})
    (workdir / "thresholds.json").write_text("{}")
    return workdir


def test_a_multi_label_record_has_its_own_scores_and_table(multi_label, tmp_path):
    """Protects runs without an accuracy; their table does not mix with that of other runs."""
    made = make_record(multi_label, tmp_path / "results" / "tags")
    assert made["mean_average_precision"] == 0.8125 and "accuracy" not in made
    assert (tmp_path / "results" / "tags" / "thresholds.json").exists()
    (tmp_path / "results" / "old").mkdir()
    write(tmp_path / "results" / "old" / "record.json", OLD_RECORD)
    accuracies, precisions = results_tables(tmp_path / "results").split("\n\n")
    assert "mean average precision, %" in precisions and "| 81.25 | 75.00 |" in precisions
    assert "87.50" in accuracies and "81.25" not in accuracies
