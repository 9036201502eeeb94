"""Whole runs in a bucket: they equal runs on the disk, whatever happens to the network."""

import json
import os
import signal
import subprocess

import pytest

from netzoo.cli.main import main
from netzoo.cli.record import make_record
from netzoo.errors import UserError
from netzoo.files import files_below, read_bytes, read_text
from netzoo.tasks.classification.distill import Teachers
from netzoo.tasks.classification.predictor import Predictor
from netzoo.training import train
from netzoo.training.evaluate_run import evaluate_run
from netzoo.workdir.checkpoint import restore_variables
from reliability import kills, runs
from reliability.config import STEPS, get_config
from reliability.emulator import Fault

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run on the disk."""
    folder = tmp_path_factory.mktemp("whole")
    assert train(get_config(), folder) == 0
    return folder


def test_a_run_in_a_bucket_equals_one_on_the_disk(bucket, whole, tmp_path, pictures, capsys):
    """Protects users of buckets: every command that takes a run."""
    config = get_config()
    assert train(config, str(bucket)) == 0
    assert runs.differences(bucket, whole) == []
    names = {str(path.relative_to(bucket)).split("/")[0] for path in files_below(bucket)}
    assert names == {path.name for path in whole.iterdir()} - {"lock"}
    assert read_bytes(bucket / "curves.png")[1:4] == b"PNG"
    assert train(config, str(bucket)) == 0
    assert f"training is complete at step {STEPS}" in capsys.readouterr().out
    config.seed = 5
    with pytest.raises(UserError, match="is a run with another configuration"):
        train(config, str(bucket))

    scores, expected = evaluate_run(str(bucket)), evaluate_run(whole)
    assert scores["accuracy"] == expected["accuracy"] and scores["loss"] == expected["loss"]
    assert json.loads(read_text(bucket / "test_evaluations.json"))[0]["step"] == STEPS
    evaluate_run(str(bucket), "best", split="validation", temperature=("fit",))
    [image, *_] = sorted((pictures / "val").glob("*/*.png"))
    capsys.readouterr()
    assert main(["predict", "--workdir", str(bucket), "--json", str(image)]) == 0
    shown = json.loads(capsys.readouterr().out)
    predictor = Predictor.from_run(whole)
    [[(name, value), *_]] = predictor.top_k(predictor([image]), 1)
    assert shown[0]["predictions"][0] == {"class": name, "probability": pytest.approx(value)}
    record = make_record(str(bucket), tmp_path / "record")
    assert record["test_split_log"]["evaluations"] == 1
    assert {"curves.png", "record.json"} <= set(os.listdir(tmp_path / "record"))

    tuned = get_config()
    tuned.init.weights, tuned.train.epochs = str(bucket), 1
    assert train(tuned, tmp_path / "tuned") == 0
    digests = []
    for teacher in (bucket, whole):
        tuned.distill.teacher = (str(teacher),)
        digests.append(Teachers(tuned, len(predictor.class_names), predictor.class_names).files)
    assert digests[0] == digests[1], "a teacher may lie in a bucket"


def test_a_bad_network_changes_nothing(bucket, whole, emulator):
    """Protects a run from answers of 503, slow ones, and connections that are cut."""
    faults = (
        Fault("POST .*/checkpoints/8/state/", 2, status=503),
        Fault("POST .*/checkpoints/10/state/.*/d/", 1, cut=True),
        Fault("POST .*/checkpoints/12/.*_METADATA", 1, cut=True, stored=True),
        Fault("POST .*/checkpoints/14/checksums", 1, cut=True),
        Fault("GET .*/checkpoints/16/", 2, status=503),
        Fault("POST .*/metrics.jsonl", 1, after=3, status=503),
        Fault("POST .*/best/", 1, delay=3.0),
        Fault("DELETE .*/checkpoints/", 2, status=503),
    )
    with emulator.failing(*faults):
        assert train(get_config(), str(bucket)) == 0
    assert runs.differences(bucket, whole) == []


def test_lost_permission_leaves_the_previous_checkpoint(bucket, whole, emulator):
    """Protects a run whose bucket stops to answer: one message, and nothing is lost."""
    fault = Fault("POST .*/checkpoints/10/state/.*/d/", 99, status=403)
    message = "no checkpoint can be written to .*no permission"
    with emulator.failing(fault), pytest.raises(UserError, match=message):
        train(get_config(), str(bucket))
    assert restore_variables(bucket)[0] == 8
    assert train(get_config(), str(bucket)) == 0
    assert runs.differences(bucket, whole) == []


@pytest.mark.parametrize("place", ["array", "completion", "deletion", "log"])
def test_a_killed_run_continues_to_the_same_end(place, bucket, whole, emulator, tmp_path):
    """Protects against a kill at any request; `reliability.kills --bucket` has more places."""
    killed = kills.kill(bucket, tmp_path, kills.Kill(place, 5, 0), 1, emulator)
    assert [process.returncode for process in killed] == [-signal.SIGKILL]
    assert runs.differences(bucket, whole) != []
    [done] = runs.end([runs.begin(bucket, tmp_path)])
    assert done.returncode == 0, done.stderr
    assert runs.differences(bucket, whole) == []


def test_two_processes_share_a_bucket(bucket, tmp_path):
    """Protects jobs of several machines: each process writes its shards into the same folder."""
    for workdir in (bucket, tmp_path):
        for done in runs.end(runs.begin_job(workdir, tmp_path / "cache", processes=2)):
            assert isinstance(done, subprocess.CompletedProcess) and done.returncode == 0
    assert runs.differences(bucket, tmp_path) == []
