"""Signals and kills during evaluations; every continued run ends like an uninterrupted one."""

import itertools
import signal

import chex
import orbax.checkpoint as ocp
import pytest

from netzoo.training import train
from netzoo.training.loop import TrainingLoop
from netzoo.workdir.checkpoint import BestCheckpoint, Checkpoints, restore_variables
from netzoo.workdir.metrics_log import read_metrics
from tests.conftest import slow, tiny_config
from tests.training.runs import assert_same_run


def evaluated_steps(workdir):
    lines = read_metrics(workdir / "metrics.jsonl")
    return [line["step"] for line in lines if line["kind"] == "eval"]


def assert_same_best(workdir, whole):
    chex.assert_trees_all_equal(
        restore_variables(workdir, "best"), restore_variables(whole, "best")
    )


# Step 10 lies between two regular checkpoints, and step 20 is the last.
@pytest.mark.parametrize(("step", "batch"), [(10, 1), slow(10, 5), slow(20, 2)])
def test_a_signal_is_answered_between_two_batches(
    step, batch, pictures, whole, tmp_path, monkeypatch, capsys
):
    """Protects preempted jobs: no epoch is lost to an evaluation that takes longer than the notice.

    The continued run evaluates the restored step: the log has each evaluation once.
    """
    batches, evaluate, check = [], TrainingLoop._evaluate, TrainingLoop._check_signal

    def counting(self, at):
        batches.clear()
        self.evaluated_step = at
        return evaluate(self, at)

    def signalling(self, number, sums):
        batches.append(number)
        if self.evaluated_step == step and len(batches) == batch:
            signal.raise_signal(signal.SIGTERM)
        check(self, number, sums)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_evaluate", counting)
        patch.setattr(TrainingLoop, "_check_signal", signalling)
        assert train(tiny_config(pictures), tmp_path) == 128 + signal.SIGTERM
    assert len(batches) == batch, "the evaluation goes on after the signal"
    assert max(ocp.utils.checkpoint_steps(tmp_path / "checkpoints")) == step
    assert evaluated_steps(tmp_path) == [10][: step // 20]
    capsys.readouterr()
    assert train(tiny_config(pictures), tmp_path) == 0
    said = {10: "continuing at step 10", 20: "complete at step 20; its evaluation is missing"}
    assert said[step] in capsys.readouterr().out
    assert_same_run(tmp_path, whole)
    assert_same_best(tmp_path, whole)
    assert train(tiny_config(pictures), tmp_path) == 0
    assert "complete at step 20; nothing to do" in capsys.readouterr().out


@pytest.mark.slow
def test_best_weights_lost_after_their_evaluation(pictures, whole, tmp_path, monkeypatch):
    """Protects "best": a kill between log line and weights makes the run evaluate again."""

    class Killed(Exception):
        pass

    def killed(self, step, weights, value):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(BestCheckpoint, "save", killed)
        config = tiny_config(pictures)
        config.evaluation.every_epochs = 0
        train(config, tmp_path)
    assert evaluated_steps(tmp_path) == [20]
    assert train(config, tmp_path) == 0
    assert evaluated_steps(tmp_path) == [20]
    step, _, weights = restore_variables(tmp_path, "best")
    _, _, last = restore_variables(whole, "last")
    assert step == 20
    chex.assert_trees_all_equal(weights, last)


@pytest.mark.slow
def test_the_best_weights_are_complete_before_the_next_checkpoint(pictures, tmp_path, monkeypatch):
    """Protects "best": a run that continues from a checkpoint repeats no evaluation before it."""
    calls, save, best_save = [], Checkpoints.save, BestCheckpoint.save
    wait = BestCheckpoint.wait

    def noting(name, function):
        def noted(self, *arguments, **options):
            calls.append(name)
            return function(self, *arguments, **options)

        return noted

    monkeypatch.setattr(Checkpoints, "save", noting("checkpoint", save))
    monkeypatch.setattr(BestCheckpoint, "save", noting("best", best_save))
    monkeypatch.setattr(BestCheckpoint, "wait", noting("wait", wait))
    config = tiny_config(pictures)
    config.train.epochs, config.evaluation.every_epochs = 2, 1
    assert train(config, tmp_path) == 0
    pairs = list(itertools.pairwise(calls))
    assert calls.count("best") == 2 and calls.count("checkpoint") == 4
    assert ("best", "checkpoint") not in pairs and ("wait", "checkpoint") in pairs
