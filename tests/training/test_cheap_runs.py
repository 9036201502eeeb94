"""What the loop evaluates, keeps and traces, in runs whose steps only count."""

import jax
import numpy as np
import pytest

from netzoo.config import load_config
from netzoo.data.sources import image_files
from netzoo.errors import UserError
from netzoo.training import prepare, train
from netzoo.workdir.checkpoint import restore_variables
from netzoo.workdir.metrics_log import read_metrics
from tests.conftest import tiny_config
from tests.training import cheap_run
from tests.training.cheap_run import AVERAGED, cheap_steps, sums

# Correct answers at steps 5, 10, 15 and 20, by the number of examples in a split. The splits would
# choose steps 20, 10 and 15; raw weights would choose step 5.
TRAIN, VALIDATION, TEST = 9, 7, 11
CORRECT = {TRAIN: (3, 4, 5, 9), VALIDATION: (2, 6, 3, 5), TEST: (2, 3, 10, 4)}
EXAMPLES = {"train": TRAIN, "validation": VALIDATION}


def evaluate(eval_step, variables, batches, *others):
    """Give as many right answers as `CORRECT` says for averaged weights, and none for others."""
    del eval_step, others
    examples = sum(int(batch["mask"].sum()) for batch in batches)
    step = int(variables["params"]["w"][0]) - AVERAGED
    return sums(examples, CORRECT[examples][step // 5 - 1] if step > 0 else 0)


@pytest.fixture
def config(pictures):
    """Splits of different sizes, evaluated after each of four epochs of five steps."""
    config = tiny_config(pictures)
    config.data.validation_split = f"val[:{VALIDATION}]"
    config.evaluation.train_examples = TRAIN
    config.evaluation.every_epochs = 1
    return config


def test_best_is_that_of_the_validation_split(config, tmp_path):
    """Protects the test split from choosing weights, and the weights that are kept and logged."""
    with cheap_steps(evaluate):
        assert train(config, tmp_path) == 0
    step, which, variables = restore_variables(tmp_path, "best")
    assert (step, which) == (10, "ema")
    np.testing.assert_array_equal(variables["params"]["w"], np.full(3, 10 + AVERAGED))
    lines = [line for line in read_metrics(tmp_path / "metrics.jsonl") if line["kind"] == "eval"]
    for number, line in enumerate(lines):
        assert (line["step"], line["weights"]) == (5 * number + 5, "ema")
        for name, examples in EXAMPLES.items():
            expected = CORRECT[examples][number] / examples
            assert line[f"{name}_accuracy"] == pytest.approx(expected)
    assert len(lines) == 4 and not any("test" in key for key in lines[0])


def test_training_cannot_read_the_test_split(config, tmp_path, monkeypatch):
    """Protects the test split by code: the loop reads no picture of it, and could not."""
    read, names = image_files.read_file, []
    monkeypatch.setattr(
        image_files, "read_file", lambda path, name: names.append(name) or read(path, name)
    )
    tasks, create = [], prepare.create_resolved_task
    monkeypatch.setattr(
        prepare, "create_resolved_task", lambda *a: tasks.append(create(*a)) or tasks[0]
    )
    with cheap_steps(
        lambda step, variables, batches, *others: evaluate(step, variables, [*batches])
    ):
        assert train(config, tmp_path) == 0
    assert {name.split("/")[0] for name in names} == {"train", "val"}
    with pytest.raises(RuntimeError, match="test was read in training"):
        next(iter(tasks[0].evaluation_batches("test")))


def test_without_a_validation_split_nothing_is_best(config, tmp_path):
    """Protects from weights chosen by the training split."""
    config.data.validation_split = None
    with cheap_steps(evaluate):
        assert train(config, tmp_path) == 0
    assert not (tmp_path / "best").exists()
    assert restore_variables(tmp_path)[0] == 20


def test_a_profile_traces_ten_steps(config, tmp_path, monkeypatch):
    """Protects `profile`: steps 10 to 19 of the process are traced, after those that compile."""
    dispatched, traced = [], {}
    count = cheap_run.count

    def counted(state, batch):
        dispatched.append(batch)
        return count(state, batch)

    monkeypatch.setattr(cheap_run, "count", counted)
    monkeypatch.setattr(
        jax.profiler, "start_trace", lambda folder: traced.update({folder: len(dispatched)})
    )
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: traced.update(stop=len(dispatched)))
    config.profile = True
    with cheap_steps(evaluate):
        assert train(config, tmp_path) == 0
    assert traced == {str(tmp_path / "profile"): 9, "stop": 19}


def test_a_run_that_fails_before_its_first_checkpoint_may_be_corrected(
    config, tmp_path, monkeypatch
):
    """Protects a user whose first step is refused, for example by the network."""

    def refuse(state, batch):
        raise UserError("refused")

    with monkeypatch.context() as patch:
        patch.setattr(cheap_run, "count", refuse)
        with cheap_steps(evaluate), pytest.raises(UserError, match="refused"):
            train(config, tmp_path)
    config.optimizer.learning_rate = 0.5
    with cheap_steps(evaluate):
        assert train(config, tmp_path) == 0
    assert load_config(tmp_path).optimizer.learning_rate == 0.5
    config.optimizer.learning_rate = 0.25
    with cheap_steps(evaluate), pytest.raises(UserError, match="another configuration"):
        train(config, tmp_path)
