"""Continued runs: other data, another machine, and more epochs."""

import json
import shutil
from types import SimpleNamespace

import pytest

from netzoo.config import load_config, save_config
from netzoo.errors import UserError
from netzoo.training import train
from netzoo.training.continuation import fingerprints, notes
from netzoo.workdir import environment
from netzoo.workdir.metrics_log import MetricsWriter, read_metrics
from tests.conftest import tiny_config, tiny_translation_config


@pytest.fixture
def finished(whole, tmp_path):
    """A copy of a finished run."""
    return shutil.copytree(whole, tmp_path / "run")


@pytest.fixture
def moved(pictures, tmp_path):
    """A copy of the data in another folder."""
    return shutil.copytree(pictures, tmp_path / "moved")


def test_a_moved_folder_continues(finished, moved, capsys):
    """Protects runs whose data have moved: names are equal, and the run saves the new path."""
    assert train(tiny_config(moved), finished) == 0
    printed = capsys.readouterr()
    assert "training is complete at step 20" in printed.out
    assert "may differ" not in printed.err
    assert load_config(finished).data.source == f"folder:{moved}"


def add(folder):
    shutil.copy(folder / "train" / "daisy" / "00.png", folder / "train" / "daisy" / "new.png")


def rename(folder):
    (folder / "val" / "daisy" / "00.png").rename(folder / "val" / "daisy" / "new.png")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (add, "train: the run has 40 examples, now 41"),
        (rename, "validation: the examples have other names"),
    ],
)
def test_changed_data_are_refused_or_accepted_by_a_flag(
    change, message, finished, moved, tmp_path, capsys
):
    """Protects a run from silent changes of the data, which would change the order of examples."""
    change(moved)
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    config = tiny_config(moved)
    with pytest.raises(UserError, match=message) as error:
        train(config, finished)
    assert f"--config.init.weights={finished}" in str(error.value)
    assert "--config.data.on_change=continue" in str(error.value)
    now = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    assert {path for path in now if now[path] != before.get(path)} <= {finished / "lock"}
    config.data.on_change = "continue"
    assert train(config, finished) == 0
    assert "data." in capsys.readouterr().err
    config.data.on_change = "stop"
    assert train(config, finished) == 0  # these are the data of the run now


def test_changed_labels_are_refused(finished, pictures):
    """Protects a run from a list whose labels were corrected between two sessions."""
    recorded = json.loads((finished / "environment.json").read_text())
    recorded["data"]["validation"]["labels"] = "those of the first session"
    (finished / "environment.json").write_text(json.dumps(recorded))
    with pytest.raises(UserError, match="validation: the examples have other labels"):
        train(tiny_config(pictures), finished)


def test_every_task_notices_changed_data():
    """Protects translation too: an additional or a different pair changes the fingerprint."""
    from netzoo.tasks import create_task, resolve_config

    config = resolve_config(tiny_translation_config())
    made = fingerprints(config, create_task(config))
    assert {name: each["examples"] for name, each in made.items()} == {
        "train": 42, "validation": 11, "test": 11
    }  # fmt: skip
    assert len({each["names"] for each in made.values()}) == 3


def test_another_machine_is_said_once(finished, pictures, monkeypatch, capsys):
    """Protects the promise of equal bits: its conditions are recorded and compared."""
    made = json.loads((finished / "environment.json").read_text())
    assert made["machine"]["cores"] >= 1 and made["versions"]["netzoo"]
    cores = made["machine"]["cores"]
    monkeypatch.setattr(environment, "cpu_model", lambda: "another")
    monkeypatch.setattr(environment.os, "sched_getaffinity", lambda _: range(cores + 1))
    monkeypatch.setattr(environment, "commit", lambda: "abc")
    monkeypatch.setenv("XLA_FLAGS", flags := "--xla_cpu_enable_fast_math=true")
    assert train(tiny_config(pictures), finished) == 0
    [line] = [x for x in capsys.readouterr().err.splitlines() if "may differ" in x]
    assert f"machine.cpu was {made['machine']['cpu']}, now another" in line
    assert f"machine.cores was {cores}, now {cores + 1}" in line
    assert f"commit was {made['commit']}, now abc" in line
    assert f"variables.XLA_FLAGS was {made['variables']['XLA_FLAGS']}, now {flags}" in line
    assert train(tiny_config(pictures), finished) == 0
    assert "may differ" not in capsys.readouterr().err
    [change] = json.loads((finished / "environment.json").read_text())["changes"]
    assert (change["step"], change["values"]["commit"]) == (20, [made["commit"], "abc"])


def test_more_epochs_continue_with_a_line_on_the_schedule(finished, pictures, capsys):
    """Protects longer training: the same command with a larger train.epochs continues."""
    config = tiny_config(pictures)
    config.train.epochs = 5
    config.train.log_every_steps = 5  # keys that compute nothing may change too
    config.evaluation.batch_size = 3
    kept = read_metrics(finished / "metrics.jsonl")
    assert train(config, finished) == 0
    printed = capsys.readouterr()
    assert "continuing at step 20" in printed.out
    # Half a cosine from 0.001: over 15 steps after the warm-up of 5 it has ended; over 20 it has
    # a quarter left to go.
    assert "learning rate was 1.09e-05 at step 20, and is 0.000146 at step 21" in printed.err
    lines = read_metrics(finished / "metrics.jsonl")
    assert lines[: len(kept)] == kept
    assert [line["step"] for line in lines[len(kept) :]] == [25, 25]
    assert load_config(finished).train.epochs == 5
    with pytest.raises(UserError, match=r"train\.epochs: the run has 5, now 4") as error:
        train(tiny_config(pictures), finished)
    assert f"--config.init.weights={finished}" in str(error.value)


@pytest.mark.parametrize("place", ["tmp_path", "bucket"])
@pytest.mark.parametrize(
    ("every", "written", "start", "lacked"),
    [
        (1, range(1, 7), 6, None),
        (1, range(1, 4), 6, "steps from 4 to 6"),
        (1, range(1, 6), 6, "the step 6"),
        (7, (7, 14), 20, None),  # the evaluation of the checkpoint at step 20 is made now
        (7, (7,), 20, "steps from 10 to 14"),  # step 10 has an evaluation
        (7, (), 6, None),
    ],
)
def test_a_log_that_was_cut_is_reported(every, written, start, lacked, place, request):
    """Protects records and curves, which lack lines if the log ends before the checkpoint."""
    workdir, config = request.getfixturevalue(place), tiny_config("unused")
    config.train.log_every_steps = every
    save_config(config, workdir)
    with MetricsWriter(workdir, resume_step=None) as log:
        for step in written:
            log.write("train", step, step / 5, {})
    lines = notes(config, workdir, SimpleNamespace(steps_per_epoch=5), start, {})
    said = [f"metrics.jsonl lacks the lines of {lacked}, before" in line for line in lines]
    assert said == [True] * (lacked is not None)
