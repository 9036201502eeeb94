"""Records: numbers from the files of a run, and errors for unsuitable runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from netzoo.cli.record import main, make_record, results_tables
from netzoo.config import default_config, flatten
from netzoo.errors import UserError

ROOT = Path(__file__).parents[2]
KEYS = [
    *("model", "init", "dataset", "train_split", "test_split", "image_size", "epochs", "seed"),
    *("accuracy", "num_examples", "interval", "test_split_log", "parameters"),
    "images_per_second",
    *("wall_seconds", "command", "versions", "machine"),
]
TRANSLATION_KEYS = [
    *("task", "model", "init", "dataset", "train_split", "test_split", "epochs", "seed"),
    *("bleu", "bleu_interval", "bleu_signature", "chrf", "exact_match", "perplexity"),
    *("num_examples", "test_split_log", "parameters", "tokens_per_second"),
    *("wall_seconds", "command", "versions", "machine"),
]


OLD_RECORD = {
    **{"model": "mobilenet_v2", "init": "random", "dataset": "flowers"},
    **{"train_split": "a", "test_split": "b", "image_size": 128, "epochs": 2, "seed": 7},
    **{"accuracy": 0.875, "num_examples": 734, "interval": [0.85, 0.9], "parameters": 2_230_277},
    **{"images_per_second": 95.0, "wall_seconds": 42.0, "machine": {"devices": ["1 x cpu"]}},
}


def train_line(step, process, wall, rate, unit="images"):
    timing = {"process": process, "wall_seconds": wall, f"{unit}_per_second": rate}
    return {"kind": "train", "step": step, "epoch": step / 10, "loss": 1.0, "timing": timing}


def write(path, value):
    path.write_text(json.dumps(value))


def read(path):
    return json.loads(path.read_text())


@pytest.fixture
def workdir(tmp_path):
    """A run of two epochs in two sessions of 30 s and 12 s."""
    folder = tmp_path / "run"
    folder.mkdir()
    data = {"source": "tf_flowers", "train_split": "train[:80%]", "test_split": "train[80%:]"}
    config = {
        "task": "image_classification",
        "model": {"name": "mobilenet_v2"},
        "data": {**data, "image_size": 128, "mean": [127.5] * 3, "cache": "none"},
        "train": {"epochs": 2},
        "evaluation": {"crop_pct": 0.875, "batch_size": 32},
        "seed": 7,
    }
    write(folder / "config.json", config)
    evaluation = {"accuracy": 0.875, "interval": [0.85, 0.9], "count": 734, "loss": 0.5}
    evaluation |= {"weights": "ema", "checkpoint": "last", "step": 20, "split": "train[80%:]"}
    evaluation["data"] = {"examples": 734, "names": "abc"}
    evaluation["settings"] = {
        **{"model.name": "mobilenet_v2", "data.source": "tf_flowers", "data.image_size": 128},
        **{"data.mean": [127.5] * 3, "evaluation.crop_pct": 0.875},
    }
    write(folder / "eval.json", evaluation)
    log = {name: evaluation[name] for name in ("checkpoint", "step", "weights", "settings")}
    write(folder / "test_evaluations.json", [{"time": "2026-01-02T03:04:05+00:00", **log}])
    machine = {"cpu": "Z80", "cores": 2, "memory": 65536, "devices": ["1 x cpu"]}
    environment = {
        "command": "python train.py",
        "versions": {"jax": "0.10"},
        "machine": {**machine, "platform": "cpu"},
        "parameters": 2_230_277,
        "init": "random",
        "data": {"test": {"examples": 734, "names": "abc"}},
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


@pytest.fixture
def translation(workdir):
    """A run of a Transformer with averaged weights of the last step."""
    data = {"source": "folder:pairs", "train_split": "train", "test_split": "test_2016"}
    change(workdir / "config.json", "task", value="translation")
    change(workdir / "config.json", "model", "name", value="transformer_tiny")
    change(workdir / "config.json", "data", value={**data, "languages": ["en", "de"]})
    scores = {"bleu": 38.125, "bleu_interval": [36.5, 39.75], "bleu_signature": "nrefs:1|bs:1000"}
    scores |= {"bleu_lowercased": 39.0, "bleu_lowercased_signature": "case:lc", "chrf": 61.5}
    scores |= {"chrf_signature": "nc:6", "exact_match": 0.125, "loss": 1.5, "perplexity": 4.482}
    scores |= {"token_accuracy": 0.7, "tokens": 12_345, "count": 1000}
    scores |= {"split": "test_2016", "step": 20, "checkpoint": "average", "weights": "params"}
    change(workdir / "config.json", "evaluation", value={"beam_size": 4})
    settings = {"model.name": "transformer_tiny", "data.source": "folder:pairs"}
    settings |= {"evaluation.beam_size": 4}
    data = {"examples": 734, "names": "abc"}
    write(workdir / "eval.json", {**scores, "settings": settings, "data": data})
    lines = [
        train_line(10, "a", 30.0, 900.0, "tokens"),
        train_line(20, "b", 12.0, 1500.0, "tokens"),
    ]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (workdir / "translations.tsv").write_text("A dog.\tEin Hund.\tEin Hund.\n")
    return workdir


def change(path, *keys, value):
    """Set a (nested) key of a JSON file, or remove it where the value is None."""
    content = read(path)
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


def test_a_record_of_translation_has_exactly_its_keys(translation, tmp_path):
    """Protects the second contract of record.json; median rate (900+1500)/2, wall 30 + 12 s."""
    made = make_record(translation, tmp_path / "t")
    assert json.loads((tmp_path / "t" / "record.json").read_text()) == made
    assert list(made) == TRANSLATION_KEYS
    assert (made["task"], made["model"]) == ("translation", "transformer_tiny")
    assert (made["dataset"], made["seed"]) == ("folder:pairs", 7)
    assert (made["tokens_per_second"], made["wall_seconds"]) == (1200.0, 42.0)
    assert (made["bleu"], made["chrf"], made["num_examples"]) == (38.125, 61.5, 1000)
    assert (made["train_split"], made["test_split"]) == ("train", "test_2016")


def test_a_record_of_translation_holds_the_translations(translation, tmp_path):
    """Protects the translations of a record, which a run may lack."""
    make_record(translation, tmp_path / "t")
    assert (tmp_path / "t" / "translations.tsv").read_text().startswith("A dog.")
    assert (tmp_path / "t" / "curves.png").exists()
    (translation / "translations.tsv").unlink()
    make_record(translation, tmp_path / "without")
    assert not (tmp_path / "without" / "translations.tsv").exists()


def test_a_record_holds_what_it_was_made_from(workdir, tmp_path):
    """Protects the copies of files in a record."""
    (workdir / "checkpoint").mkdir()
    (workdir / "translations.tsv").write_text("of another task")
    make_record(workdir, tmp_path / "v2")
    names = sorted(path.name for path in (tmp_path / "v2").iterdir())
    sources = ["config.json", "curves.png", "environment.json", "eval.json", "metrics.jsonl"]
    assert names == sorted([*sources, "record.json", "test_evaluations.json"])
    for name in sources:
        assert (tmp_path / "v2" / name).read_bytes() == (workdir / name).read_bytes()


@pytest.mark.parametrize("name", ["config.json", "eval.json", "environment.json", "metrics.jsonl"])
def test_a_missing_file_is_named(workdir, tmp_path, name):
    """Protects against partial records: nothing is written, and the message has advice."""
    (workdir / name).unlink()
    with pytest.raises(UserError, match=f"has no {name}: .*`netzoo eval --workdir") as error:
        make_record(workdir, tmp_path / "v2")
    # A trained run needs no new training.
    assert ("netzoo train" in str(error.value)) == (name != "eval.json")
    assert not (tmp_path / "v2").exists()


def test_a_run_of_an_earlier_version_is_recorded(workdir, tmp_path):
    """The evaluation knows the keys that were added later, with their defaults."""
    for key in ("evaluation.tta", "augment.crop_ratio"):
        change(workdir / "eval.json", "settings", key, value=flatten(default_config())[key])
    assert make_record(workdir, tmp_path / "v2")["accuracy"] == 0.875
    change(workdir / "eval.json", "settings", "evaluation.tta", value="flip")
    with pytest.raises(UserError, match=r"evaluation.tta: the run has .*, the evaluation 'flip'"):
        make_record(workdir, tmp_path / "flip")


@pytest.mark.parametrize(
    ("file", "keys", "value", "message"),
    [
        ("config.json", ["train", "epochs"], 3, "unfinished: expected 3 epochs, found 2"),
        ("config.json", ["seed"], None, "lacks the key 'seed'"),
        ("config.json", ["task"], "translatio", "unknown task .*; did you mean translation"),
        ("eval.json", ["step"], 10, "step: the run has 20, the evaluation 10"),
        ("eval.json", ["split"], "train", r"split: the run has 'train\[80%:\]', .* 'train'"),
        ("eval.json", ["settings", "data.source"], "new", "data.source: .* 'tf_flowers', .* 'new'"),
        ("eval.json", ["settings", "data.mean"], [0, 0, 0], r"data.mean: .*, .* \[0, 0, 0\]"),
        ("eval.json", ["settings", "evaluation.crop_pct"], 0.5, "evaluation.crop_pct: .*0.875"),
        ("eval.json", ["settings", "model.padding"], "same", "padding: the run has None, .*'same'"),
        ("config.json", ["data", "image_size"], 96, "data.image_size: the run has 96, .*128"),
        ("eval.json", ["data", "examples"], 735, "data.examples: the run has 734, .* 735"),
        ("eval.json", ["data", "names"], "abd", "data.names: the run has 'abc', .* 'abd'"),
        ("eval.json", ["settings"], None, "lacks the key 'settings'"),
        ("eval.json", ["accuracy"], None, "lacks the key 'accuracy'"),
    ],
)
def test_an_unfit_run_is_refused(workdir, tmp_path, file, keys, value, message):
    """Protects the results from unfinished runs, stale evaluations and training accuracies."""
    change(workdir / file, *keys, value=value)
    with pytest.raises(UserError, match=message):
        make_record(workdir, tmp_path / "v2")
    assert not (tmp_path / "v2").exists()


@pytest.mark.parametrize(
    ("file", "keys", "value", "message"),
    [
        ("config.json", ["train", "epochs"], 3, "unfinished: expected 3 epochs, found 2"),
        ("eval.json", ["step"], 10, "step: the run has 20, the evaluation 10"),
        ("eval.json", ["split"], "train", "split: the run has 'test_2016', the evaluation 'train'"),
        ("eval.json", ["settings", "evaluation.beam_size"], 1, "evaluation.beam_size: .* 4, .* 1"),
        ("eval.json", ["bleu_interval"], None, "lacks the key 'bleu_interval'"),
    ],
)
@pytest.mark.parametrize("validation", [None, "val"])
def test_an_unfit_translation_is_refused(
    translation, tmp_path, file, keys, value, message, validation
):
    """Protects the same for translation, whose averaged weights are of the last step."""
    if validation:
        change(translation / "config.json", "data", "validation_split", value=validation)
    change(translation / file, *keys, value=value)
    with pytest.raises(UserError, match=message):
        make_record(translation, tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_a_validation_split_called_test_is_refused(workdir, tmp_path):
    """Protects records from scores on the examples that the weights were chosen on."""
    change(workdir / "config.json", "data", "validation_split", value="test")
    change(workdir / "eval.json", "split", value="test")
    with pytest.raises(UserError, match=r"split: the run has 'train\[80%:\]', .* 'test'"):
        make_record(workdir, tmp_path / "v2")


def test_the_best_step_of_a_validation_split_is_welcome(workdir, tmp_path):
    """Protects runs that chose their weights by a validation split, not by the test split."""
    change(workdir / "config.json", "data", "validation_split", value="train[70%:80%]")
    change(workdir / "eval.json", "step", value=10)
    with pytest.raises(UserError, match="step: the run has 20"):
        make_record(workdir, tmp_path / "v2")
    change(workdir / "eval.json", "checkpoint", value="best")
    assert make_record(workdir, tmp_path / "v2")["accuracy"] == 0.875


def test_a_run_that_stopped_early_is_finished(workdir, tmp_path):
    """Protects records of early stopping: the epochs that were trained, and why no more."""
    change(workdir / "config.json", "train", "epochs", value=9)
    stop = {"kind": "stop", "step": 20, "epoch": 2.0, "best_step": 10}
    with (workdir / "metrics.jsonl").open("a") as log:
        log.write(json.dumps(stop) + "\n")
    record = make_record(workdir, tmp_path / "record")
    assert record["epochs"] == 2
    assert record["stopped_early"] == {"of": 9, "best_step": 10}


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
    main([str(workdir), "--out", str(results / "good")])
    change(workdir / "eval.json", "accuracy", value=0.5)
    make_record(workdir, results / "bad")
    capsys.readouterr()
    main(["--table", str(results)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == (
        "| good | mobilenet_v2 | random | tf_flowers: train[:80%] → train[80%:] | 128 | 2 | 7 "
        "| 87.50 (85.0 to 90.0) | 734 | 2.23 M | 95 | 0 min 42 s | 1 x cpu |"
    )
    assert lines[3].startswith("| bad |")
    assert len({line.count("|") for line in lines}) == 1


def test_each_task_has_a_table_of_its_own(translation, tmp_path, capsys):
    """Protects separate tables per task, and old records without a task."""
    results = tmp_path / "results"
    main([str(translation), "--out", str(results / "good")])
    assert capsys.readouterr().out.endswith("good: transformer_tiny, BLEU 38.12\n")
    change(translation / "eval.json", "bleu", value=1.0)
    write(translation / "eval.json", {**read(translation / "eval.json"), "perplexity": None})
    make_record(translation, results / "bad")
    good, bad = results_tables(results).splitlines()[2:]
    assert good == (
        "| good | transformer_tiny | random | folder:pairs: train → test_2016 | 2 | 7 "
        "| 38.12 (36.5 to 39.8) | 61.50 | 4.48 | 1,000 | 2.23 M | 1,200 | 0 min 42 s | 1 x cpu |"
    )
    assert bad.startswith("| bad |") and "| 61.50 | - |" in bad
    (results / "old").mkdir()
    write(results / "old" / "record.json", OLD_RECORD)
    images, translations = results_tables(results).split("\n\n")
    assert images.splitlines()[2].startswith("| old | mobilenet_v2 | random | flowers: a → b | 128")
    for table in (images, translations):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_a_folder_without_records_is_an_error(tmp_path):
    """Protects against an empty table for a misspelt path."""
    with pytest.raises(UserError, match="found none"):
        results_tables(tmp_path)


def test_the_command_line_explains_itself(workdir):
    """Protects the two forms of the command."""
    for arguments in ([], [str(workdir)], [str(workdir), "--out", "x", "--table", "y"]):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)


def test_it_runs_without_waking_a_device(workdir, tmp_path):
    """Protects records on a machine with a busy accelerator: JAX finds no platform here."""
    command = [sys.executable, "-m", "netzoo", "record", workdir, "--out", tmp_path / "v2"]
    environment = {**os.environ, "JAX_PLATFORMS": "no_such_platform"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("v2: mobilenet_v2, accuracy 87.50 %\n")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[1, 2]", "expected an object"),
        ("{", "JSON"),
        (json.dumps({**OLD_RECORD, "accuracy": None}), "expected a number for accuracy, got null"),
        (json.dumps({k: v for k, v in OLD_RECORD.items() if k != "accuracy"}), "'accuracy'"),
        (json.dumps({**OLD_RECORD, "task": "translatio"}), "'translatio'"),
    ],
)
def test_damaged_record_is_named(tmp_path, text, name):
    """Protects errors of damaged files, which name the file."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "record.json").write_text(text)
    with pytest.raises(UserError, match=rf"a/record\.json.*({name})"):
        results_tables(tmp_path)


def test_everything_that_differs_is_said_at_once(workdir, tmp_path):
    """Protects the user from one evaluation for each difference."""
    change(workdir / "eval.json", "step", value=10)
    change(workdir / "eval.json", "settings", "evaluation.crop_pct", value=1.0)
    change(workdir / "config.json", "evaluation", "batch_size", value=8)  # changes no score
    with pytest.raises(UserError, match=r"--out DIR") as error:
        make_record(workdir, tmp_path / "v2")
    said = str(error.value)
    assert said.count("the run has") == 2 and "step:" in said and "evaluation.crop_pct:" in said


def test_the_data_are_those_of_the_last_session(workdir, tmp_path):
    """Protects a run that continued on changed data, and runs that recorded no data."""
    change(workdir / "eval.json", "data", value={"examples": 9, "names": "new"})
    with pytest.raises(UserError, match=r"data\.examples"):
        make_record(workdir, tmp_path / "v2")
    values = {"data.test.examples": [734, 9], "data.test.names": ["abc", "new"]}
    change(workdir / "environment.json", "changes", value=[{"step": 5, "values": values}])
    assert make_record(workdir, tmp_path / "v2")["accuracy"] == 0.875
    change(workdir / "environment.json", "changes", value=None)
    change(workdir / "environment.json", "data", value=None)
    assert make_record(workdir, tmp_path / "v3")["accuracy"] == 0.875
