"""Whole runs of translation: the promises of the trainer also hold for its second task."""

import json
import shutil
import signal

import chex
import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.tasks import create_task
from netzoo.training import loop, step
from netzoo.workdir.metrics_log import read_metrics
from tests.conftest import tiny_config, tiny_translation_config
from tests.training.runs import STEPS, assert_same_run, damage, lines_of, run, start


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    workdir = tmp_path_factory.mktemp("whole")
    done = start("number_words", workdir)
    assert done.returncode == 0, done.stdout + done.stderr
    return workdir


@pytest.mark.slow  # the fast one is test_loop's, of the same loop
def test_killed_run_resumes_bit_identically(whole, tmp_path):
    """Protects translation's part of the promise: vocabulary, batches of two shapes, dropout."""
    killed = start("number_words", tmp_path, 8, "SIGKILL")
    assert killed.returncode == -signal.SIGKILL
    assert read_metrics(tmp_path / "metrics.jsonl")[-1]["step"] == 8
    resumed = start("number_words", tmp_path)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert_same_run(tmp_path, whole)


@pytest.mark.slow  # six processes; the fast one is that of test_entry_points.py
def test_eval_and_predict_read_a_run(whole, tmp_path):
    """Protects evaluation and prediction of a run: scores, files, n-best lists and JSON."""
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    done = run("eval.py", "--workdir", workdir, "--checkpoint", "average")
    assert done.returncode == 0, done.stderr
    report = json.loads((workdir / "eval.json").read_text())
    assert (report["count"], report["step"], report["weights"]) == (11, 20, "mean of 2")
    assert {"bleu", "chrf", "perplexity", "token_accuracy", "exact_match"} <= set(report)
    assert "tok:13a" in report["bleu_signature"]
    rows = (workdir / "translations.tsv").read_text().splitlines()
    assert (len(rows), rows[0]) == (12, "source\treference\ttranslation")
    assert (workdir / "attention.png").stat().st_size > 10_000

    lines, out = tmp_path / "in.txt", tmp_path / "out.txt"
    # A line separator within a sentence, which does not end a line of a file.
    lines.write_text("12\n\n34\u20285\n")
    done = run("predict.py", "--workdir", workdir, "7", "--input", lines, "--output", out)
    assert done.returncode == 0, done.stderr
    translations = out.read_text().split("\n")
    assert (len(translations), translations[2]) == (5, "")
    assert "4 sentences in" in done.stderr
    done = run("predict.py", "--workdir", workdir, "7", "--json", "--top_k", 2)
    [answer] = json.loads(done.stdout)
    assert (answer["source"], len(answer["translations"])) == ("7", 2)
    done = run("predict.py", "--workdir", workdir, "7", "--top_k", 9)
    assert done.returncode == 1
    assert "--config.evaluation.beam_size=9" in done.stderr
    done = run("predict.py", "--workdir", workdir, "7", "--output", tmp_path / "no" / "out.txt")
    assert done.returncode == 1
    assert "does not exist" in done.stderr


@pytest.mark.slow
def test_a_damaged_checkpoint_adds_no_line_to_the_translations(whole, tmp_path):
    """Protects line n of the output: the notice about the checkpoint is on standard error."""
    workdir = shutil.copytree(whole, tmp_path / "run")
    damage(workdir / "checkpoints" / str(STEPS) / "state")
    done = run("predict.py", "--workdir", workdir, "7", "12")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert f"checkpoint damaged, left out: {workdir}/checkpoints/{STEPS}" in done.stderr


@pytest.mark.slow  # the fast ones are those of test_sharding.py and test_processes.py
def test_eight_devices_agree_with_one(whole, tmp_path):
    """Protects the weights of rows: the mean is that of the tokens of the whole batch.

    float32 rounding accumulates over twenty steps of Adam: losses agree to a relative 1e-4.
    """
    done = start("number_words", tmp_path, devices=8)
    assert done.returncode == 0, done.stdout + done.stderr
    for one, eight in zip(lines_of(whole), lines_of(tmp_path), strict=True):
        assert one.keys() == eight.keys()
        for name in one.keys() & {"loss", "train_loss", "validation_loss"}:
            np.testing.assert_allclose(eight[name], one[name], rtol=1e-4)


@pytest.mark.parametrize("name", ["validation_split", "test_split"])
@pytest.mark.parametrize("source", ["number_words", "pictures"])
def test_splits_that_are_not_there_stop_nothing_later(source, name, tmp_path, request):
    """Protects users from a misspelt split: it fails at once and saves no configuration."""
    config = tiny_translation_config()
    if source == "pictures":
        config = tiny_config(request.getfixturevalue(source))
    config.data[name] = "tset"
    with pytest.raises(UserError, match="tset"):
        loop.train(config, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name != "lock"] == []


@pytest.mark.slow
def test_one_compilation_a_shape(monkeypatch, tmp_path):
    """Protects long runs from recompilation: two shapes of batches give two traces."""
    config = tiny_translation_config()
    task = create_task(config)
    iterator = task.train_iterator()
    shapes = {next(iterator)["source"].shape for _ in range(task.steps_per_epoch)}
    assert len(shapes) == 2
    make = step.make_train_step

    def counted(*args, **options):
        return chex.assert_max_traces(make(*args, **options), n=len(shapes))

    monkeypatch.setattr(step, "make_train_step", counted)
    assert loop.train(config, tmp_path) == 0
