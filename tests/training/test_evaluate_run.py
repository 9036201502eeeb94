"""Evaluation of a run: what is refused before anything is read, and what a failure leaves."""

import json

import pytest

from netzoo.errors import UserError
from netzoo.training import evaluate_run as module
from netzoo.training.evaluate_run import evaluate_run
from tests.conftest import tiny_translation_config


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_run_without_a_split_says_which_key(split, tmp_path):
    """Protects runs that were trained without a test or validation split."""
    config = tiny_translation_config()
    config.data[f"{split}_split"] = None
    message = rf"nothing to evaluate on.* --config.data.{split}_split=SPLIT"
    with pytest.raises(UserError, match=message):
        evaluate_run(tmp_path, config=config, split=split)


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path):
    """Protects an hour of evaluating."""
    (tmp_path / "eval.json").mkdir()
    with pytest.raises(UserError, match=r"eval\.json: it is a folder"):
        evaluate_run(tmp_path, config=tiny_translation_config())


class Evaluated:
    """A task whose evaluation is done, and whose picture cannot be drawn."""

    evaluation_sums = None

    def batch_sizes(self):
        return {}

    def evaluation_batches(self, split):
        return []

    def metrics(self, sums):
        return {"loss": 0.5}

    def report(self, variables, split, sums):
        def draw(folder):
            raise OSError("the disk is full")

        return {"bleu": 40.0}, draw

    def show(self, report, console):
        console.print(report)


def test_figures_outlive_a_picture_that_cannot_be_drawn(tmp_path, monkeypatch, capfd):
    """Protects what the evaluation found: printed and in `eval.json` before anything is drawn."""
    monkeypatch.setattr(module, "create_task", lambda *args: Evaluated())
    monkeypatch.setattr(module, "restore_variables", lambda *args: (7, "params", {}))
    monkeypatch.setattr(module, "evaluate", lambda *args: {})
    with pytest.raises(OSError, match="the disk is full"):
        evaluate_run(tmp_path, config=tiny_translation_config())
    report = json.loads((tmp_path / "eval.json").read_text())
    assert (report["loss"], report["bleu"], report["step"]) == (0.5, 40.0, 7)
    assert "'bleu': 40.0" in capfd.readouterr().out
