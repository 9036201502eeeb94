"""The tool that trains configurations to records within a limit of time."""

import subprocess
import sys

import pytest

from benchmarks import training
from benchmarks.contestants import ROOT

ARGUMENTS = ["flowers_160:mobilenet_v1", "flowers_160:mobilenet_v2", "--seeds", "0", "1"]
NAMES = [f"flowers_160_mobilenet_v{n}_seed{seed}" for seed in (0, 1) for n in (1, 2)]


def call(monkeypatch, tmp_path, complete, minutes="9"):
    """Run the tool, whose first `complete` runs train to their end; return what it started."""
    started, left = [], [complete]

    def train(command, seconds):
        name = command[command.index("--workdir") + 1].rpartition("/")[2]
        started.append(("train", name, *command[command.index("--workdir") + 2 :]))
        assert 0 < seconds <= 60 * float(minutes)
        left[0] -= 1
        return left[0] >= 0

    def run(command, check):
        started.append(tuple(command[3:4]))
        if command[3] == "record":
            (tmp_path / "out" / command[-1].rpartition("/")[2]).mkdir(parents=True)

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(subprocess, "run", run)
    flags = ["--workdir", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    try:
        training.main([*ARGUMENTS, *flags, "--minutes", minutes, "--config.train.epochs=1"])
    except SystemExit as stop:
        started.append(stop.code)
    return started


def test_every_run_is_trained_evaluated_and_recorded(monkeypatch, tmp_path):
    """Protects the order: all networks of a seed first, so that a stop leaves whole seeds."""
    started = call(monkeypatch, tmp_path, complete=4)
    assert started[1::3] == [("eval",)] * 4 and started[2::3] == [("record",)] * 4
    seeds = ["--config.seed=0"] * 2 + ["--config.seed=1"] * 2
    expected = [
        ("train", name, seed, "--config.train.epochs=1")
        for name, seed in zip(NAMES, seeds, strict=True)
    ]
    assert started[::3] == expected
    assert call(monkeypatch, tmp_path, complete=4) == []  # all of them have a record


def test_the_same_command_continues(monkeypatch, tmp_path):
    """Protects the limit of time: a run that it stops has no record, and is the next one."""
    first = call(monkeypatch, tmp_path, complete=1)
    assert [x[1] for x in first[::3] if x[0] == "train"] == NAMES[:2]
    assert first[-1] == "stopped after 9 minutes; the same command continues"
    again = call(monkeypatch, tmp_path, complete=3)
    assert [x[1] for x in again[::3]] == NAMES[1:]
    assert "stopped" in call(monkeypatch, tmp_path / "new", complete=9, minutes="0")[-1]


def test_training_is_stopped_by_a_signal():
    """Protects the checkpoint: a run that is out of time gets SIGTERM; a failure is passed on."""
    assert training.train([sys.executable, "-c", ""], 60)
    assert not training.train(["sleep", "60"], 0.01)
    with pytest.raises(SystemExit, match="3"):
        training.train([sys.executable, "-c", "raise SystemExit(3)"], 60)


@pytest.mark.slow
def test_a_tiny_training(pictures, tmp_path):
    """Protects the three commands, which have to agree on configuration and folders."""
    config = f"{ROOT / 'configs' / 'flowers_160.py'}:mobilenet_v1"
    values = {
        "data.source": f"folder:{pictures}",
        "data.train_split": "train",
        "data.test_split": "test",
        "data.image_size": 32,
        "train.epochs": 1,
        "train.batch_size": 4,
        "evaluation.batch_size": 4,
        "model.dtype": "float32",
    }
    overrides = [f"--config.{name}={value}" for name, value in values.items()]
    flags = ["--workdir", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="same command continues"):
        training.main([config, *flags, *overrides, "--minutes", "0"])
    training.main([config, *flags, *overrides])
    assert (tmp_path / "out" / "flowers_160_mobilenet_v1_seed0" / "record.json").exists()
