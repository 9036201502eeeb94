"""Tests of records: the numbers come from the run's files, and an unfit run is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from netzoo.errors import UserError
from netzoo.workdir import record
from netzoo.workdir.record import (
    environment_record,
    main,
    make_record,
    results_table,
)

ROOT = Path(__file__).parents[2]
KEYS = [
    *("model", "init", "dataset", "train_split", "test_split", "image_size", "epochs", "seed"),
    *("accuracy", "num_examples", "interval", "parameters", "images_per_second"),
    *("wall_seconds", "command", "versions", "machine"),
]


def train_line(step, process, wall, rate):
    timing = {"process": process, "wall_seconds": wall, "images_per_second": rate}
    return {"kind": "train", "step": step, "epoch": step / 10, "loss": 1.0, "timing": timing}


def write(path, value):
    path.write_text(json.dumps(value))


@pytest.fixture
def workdir(tmp_path):
    """A run of two epochs that was interrupted once: 30 s in one process, 12 s in the next."""
    folder = tmp_path / "run"
    folder.mkdir()
    data = {"source": "tf_flowers", "train_split": "train[:80%]", "test_split": "train[80%:]"}
    config = {
        "model": {"name": "mobilenet_v2"},
        "data": {**data, "image_size": 128},
        "train": {"epochs": 2},
        "seed": 7,
    }
    write(folder / "config.json", config)
    evaluation = {"accuracy": 0.875, "interval": [0.85, 0.9], "count": 734, "loss": 0.5}
    evaluation |= {"weights": "ema", "step": 20, "split": "train[80%:]"}
    write(folder / "eval.json", evaluation)
    machine = {"cpu": "Z80", "cores": 2, "memory": 65536, "devices": ["1 x cpu"]}
    environment = {
        "command": "python train.py",
        "versions": {"jax": "0.10"},
        "machine": {**machine, "platform": "cpu"},
        "parameters": 2_230_277,
        "init": "random",
    }
    write(folder / "environment.json", environment)
    lines = [
        train_line(5, "a", 10.0, 40.0),
        train_line(10, "a", 30.0, 90.0),
        {"kind": "eval", "step": 10, "epoch": 1.0, "test_accuracy": 0.5},
        train_line(15, "b", 6.0, 100.0),
        train_line(20, "b", 12.0, 120.0),
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "curves.png").write_bytes(b"png")
    return folder


def change(path, *keys, value):
    """Sets a (nested) key of a JSON file, or removes it where the value is None."""
    content = json.loads(path.read_text())
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    if value is None:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    write(path, content)


def test_a_record_has_exactly_its_keys_and_the_runs_numbers(workdir, tmp_path):
    """Protects the contract of record.json; median rate (90+100)/2, wall time 30 + 12 s."""
    made = make_record(workdir, tmp_path / "results" / "v2")
    assert json.loads((tmp_path / "results" / "v2" / "record.json").read_text()) == made
    assert list(made) == KEYS
    assert made["images_per_second"] == 95.0
    assert made["wall_seconds"] == 42.0
    assert (made["model"], made["init"], made["seed"]) == ("mobilenet_v2", "random", 7)
    assert (made["accuracy"], made["num_examples"]) == (0.875, 734)
    assert (made["train_split"], made["test_split"]) == ("train[:80%]", "train[80%:]")


def test_a_record_holds_what_it_was_made_from(workdir, tmp_path):
    """Protects the trace from each number back to the run."""
    (workdir / "checkpoint").mkdir()
    make_record(workdir, tmp_path / "v2")
    names = sorted(path.name for path in (tmp_path / "v2").iterdir())
    sources = ["config.json", "curves.png", "environment.json", "eval.json", "metrics.jsonl"]
    assert names == sorted([*sources, "record.json"])
    for name in sources:
        assert (tmp_path / "v2" / name).read_bytes() == (workdir / name).read_bytes()


@pytest.mark.parametrize("name", ["config.json", "eval.json", "environment.json", "metrics.jsonl"])
def test_a_missing_file_is_named(workdir, tmp_path, name):
    """Protects against half a record: nothing is written, and the message says what to run."""
    (workdir / name).unlink()
    with pytest.raises(UserError, match=f"has no {name}: .*(train|eval).py"):
        make_record(workdir, tmp_path / "v2")
    assert not (tmp_path / "v2").exists()


@pytest.mark.parametrize(
    ("file", "keys", "value", "message"),
    [
        ("config.json", ["train", "epochs"], 3, "unfinished: expected 3 epochs, found 2"),
        ("config.json", ["model", "name"], None, "lacks the key 'name'"),
        ("eval.json", ["step"], 10, "is of step 10, but the run ended at step 20"),
        ("eval.json", ["split"], "train", "split 'train', expected the test split"),
        ("eval.json", ["accuracy"], None, "lacks the key 'accuracy'"),
    ],
)
def test_an_unfit_run_is_refused(workdir, tmp_path, file, keys, value, message):
    """Protects the results from unfinished runs, stale evaluations and training accuracies."""
    change(workdir / file, *keys, value=value)
    with pytest.raises(UserError, match=message):
        make_record(workdir, tmp_path / "v2")
    assert not (tmp_path / "v2").exists()


def test_the_best_step_of_a_validation_split_is_welcome(workdir, tmp_path):
    """Protects runs that chose their weights by a validation split, not by the test split."""
    change(workdir / "config.json", "data", "validation_split", value="train[70%:80%]")
    change(workdir / "eval.json", "step", value=10)
    assert make_record(workdir, tmp_path / "v2")["accuracy"] == 0.875


def test_a_run_without_train_lines_is_unfinished(workdir, tmp_path):
    """Protects against an index error on an empty log."""
    (workdir / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match="expected 2 epochs, found 0"):
        make_record(workdir, tmp_path / "v2")


def test_an_old_record_is_not_overwritten(workdir, tmp_path):
    """Protects results that were kept."""
    make_record(workdir, tmp_path / "v2")
    with pytest.raises(UserError, match="exists: choose another name"):
        make_record(workdir, tmp_path / "v2")


def test_the_table_is_built_from_records(workdir, tmp_path, capsys):
    """Protects the tables of the documents: best first, each cell from record.json."""
    results = tmp_path / "results"
    assert main([str(workdir), "--out", str(results / "good")]) == 0
    change(workdir / "eval.json", "accuracy", value=0.5)
    make_record(workdir, results / "bad")
    capsys.readouterr()
    assert main(["--table", str(results)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == (
        "| good | mobilenet_v2 | random | tf_flowers: train[:80%] → train[80%:] | 128 | 2 | 7 "
        "| 87.50 (85.0 to 90.0) | 734 | 2.23 M | 95 | 0 min 42 s | 1 x cpu |"
    )
    assert lines[3].startswith("| bad |")
    assert len({line.count("|") for line in lines}) == 1


def test_a_folder_without_records_is_an_error(tmp_path):
    """Protects against an empty table where a path was mistyped."""
    with pytest.raises(UserError, match="found none"):
        results_table(tmp_path)


def test_the_command_line_explains_itself(workdir, tmp_path, capsys):
    """Protects the two forms of the command, and the exit status of a refusal."""
    for arguments in ([], [str(workdir)], [str(workdir), "--out", "x", "--table", "y"]):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
    (workdir / "eval.json").unlink()
    assert main([str(workdir), "--out", str(tmp_path / "v2")]) == 1
    assert "error: " in capsys.readouterr().err


def test_it_runs_as_a_module_without_waking_a_device(workdir, tmp_path):
    """Protects record making on a machine whose accelerator is busy: JAX finds no platform here."""
    command = [sys.executable, "-m", "netzoo.workdir.record", workdir, "--out", tmp_path / "v2"]
    environment = {**os.environ, "JAX_PLATFORMS": "no_such_platform"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("v2: mobilenet_v2, accuracy 87.50 %\n")


def test_environment_record_is_json_and_complete():
    """Protects what a record says about the machine and the versions."""
    made = environment_record(["/usr/bin/python", "train.py", "--name", "two words"], 12, "random")
    assert json.loads(json.dumps(made)) == made
    assert made["command"] == "python train.py --name 'two words'"
    assert (made["parameters"], made["init"]) == (12, "random")
    assert set(made["versions"]) == {"python", *record._PACKAGES}
    assert set(made["machine"]) == {"cpu", "cores", "memory", "devices", "platform"}
    assert made["machine"]["cores"] >= 1 and made["machine"]["cpu"]
