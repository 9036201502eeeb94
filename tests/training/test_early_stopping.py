"""Early stopping on the validation score, in runs whose steps only count."""

import signal

import jax
import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.training import train
from netzoo.training.loop import TrainingLoop
from netzoo.workdir.checkpoint import restore_variables
from netzoo.workdir.metrics_log import read_metrics
from tests.conftest import slow, tiny_config
from tests.training.cheap_run import AVERAGED, cheap_steps, sums

# Correct answers on the validation split after each epoch of five steps. Up to step 20, the score
# of step 10 is the best; a tie does not count as better.
SCORES = (2, 6, 3, 6, 7, 1, 2, 3)


def evaluate(eval_step, variables, *others):
    del eval_step, others
    return sums(7, SCORES[(int(variables["params"]["w"][0]) - AVERAGED) // 5 - 1])


@pytest.fixture
def config(pictures):
    config = tiny_config(pictures)
    config.train.update(epochs=len(SCORES), patience=2)
    config.evaluation.every_epochs = 1
    return config


def lines(workdir, kind=None):
    return [
        {name: value for name, value in line.items() if name != "timing"}
        for line in read_metrics(workdir / "metrics.jsonl", kind=kind)
    ]


def run(config, workdir, evaluate=evaluate):
    with cheap_steps(evaluate):
        return train(config, workdir)


def test_a_run_stops_after_evaluations_without_improvement(config, tmp_path, capsys):
    """Protects the count of evaluations, the checkpoint of the last step, and what is reported."""
    assert run(config, tmp_path) == 0
    [stop] = lines(tmp_path, "stop")
    assert stop == {"kind": "stop", "step": 20, "epoch": 4.0, "best_step": 10}
    assert [line["step"] for line in lines(tmp_path, "eval")] == [5, 10, 15, 20]
    # Checkpoints come every 3 steps, and at evaluations.
    assert restore_variables(tmp_path)[0] == 20
    assert restore_variables(tmp_path, "best")[0] == 10
    assert "stopped early at epoch 4" in (said := capsys.readouterr()).out + said.err
    # The same command finds a complete run and changes nothing.
    before = (tmp_path / "metrics.jsonl").read_bytes()
    assert run(config, tmp_path) == 0
    assert "training is complete at step 20; nothing to do" in capsys.readouterr().out
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    # With more patience, the run reaches a better score, and then its last epoch.
    config.train.patience = 3
    assert run(config, tmp_path) == 0
    assert lines(tmp_path, "stop") == []
    assert [line["step"] for line in lines(tmp_path, "eval")] == [*range(5, 41, 5)]
    assert restore_variables(tmp_path)[0] == 40


def test_the_last_evaluation_is_no_early_stop(config, tmp_path):
    """Protects a run that reaches its end without improvement."""
    config.train.epochs = 4
    assert run(config, tmp_path) == 0
    assert lines(tmp_path, "stop") == [] and lines(tmp_path)[-1]["step"] == 20


@pytest.mark.parametrize(
    "moment",
    [slow("step 13"), slow("evaluation at 15"), "evaluation at 20", slow("step 20")],
)
def test_an_interrupted_run_stops_at_the_same_step(moment, config, tmp_path, monkeypatch):
    """Protects continued runs: log, checkpoints and best weights are those of the whole run."""
    assert run(config, tmp_path / "whole") == 0
    finish_step, kind, number = TrainingLoop.finish_step, moment.split()[0], int(moment.split()[-1])
    pending = [number]

    def interrupt(step):
        if pending == [step]:
            pending.clear()
            signal.raise_signal(signal.SIGUSR1)

    def finish_and_interrupt(self, step, *rest):
        finish_step(self, step, *rest)
        if kind == "step":
            interrupt(step)

    def interrupted_evaluation(eval_step, variables, batches, put, check):
        if kind == "evaluation":
            interrupt(int(variables["params"]["w"][0]) - AVERAGED)
            check(1, {})
        return evaluate(eval_step, variables)

    monkeypatch.setattr(TrainingLoop, "finish_step", finish_and_interrupt)
    stopped = tmp_path / "stopped"
    assert run(config, stopped, interrupted_evaluation) == 128 + signal.SIGUSR1
    assert run(config, stopped, interrupted_evaluation) == 0 and not pending
    assert lines(stopped) == lines(tmp_path / "whole")
    for which in ("last", "best", "average"):
        found, expected = (
            restore_variables(folder, which) for folder in (stopped, tmp_path / "whole")
        )
        assert found[:2] == expected[:2]
        jax.tree.map(np.testing.assert_array_equal, found[2], expected[2])


def test_without_a_validation_split_it_is_refused(config, tmp_path):
    """Protects from a run that would never stop early, or by the wrong split."""
    config.data.validation_split = None
    with pytest.raises(UserError, match="patience is 2; expected 0 without data"):
        run(config, tmp_path)
