"""Evaluation of exported files, through the code that evaluates runs."""

import json

import numpy as np
import pytest

from netzoo.cli import eval as command
from netzoo.config import default_config
from netzoo.errors import UserError
from netzoo.export.check import run_images
from netzoo.export.classifier import FileClassifier
from netzoo.export.evaluate import evaluate_file
from netzoo.export.formats import FORMATS, installed_formats
from netzoo.export.write import export_classifier
from netzoo.tasks.classification.predictor import Predictor
from netzoo.training import train
from netzoo.training.evaluate_run import evaluate_run
from netzoo.workdir.metrics_log import read_metrics
from tests.conftest import COLORS, tiny_config
from tests.export.conftest import every_format


@pytest.fixture(scope="module", params=every_format("onnx"))
def path(request, predictor, images, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / f"small{FORMATS[request.param].suffix}"
    export_classifier(predictor, "reliability_small", path, request.param, images)
    return path


def data_config(pictures):
    config = default_config()
    config.data.source, config.data.test_split = f"folder:{pictures}", "test"
    config.evaluation.batch_size = 4  # the last of three batches is padded
    return config


def test_scores_are_those_of_the_predictor(path, predictor, pictures, tmp_path):
    """Classes are matched by name, images preprocessed as the file says, and padding is masked."""
    report = evaluate_file(path, data_config(pictures), tmp_path / "out")
    files = sorted((pictures / "test").rglob("*.png"))
    expected = predictor(files)
    labels = np.array([[*COLORS].index(file.parent.name) for file in files])
    confusion = np.zeros((3, 3), int)
    np.add.at(confusion, (labels, expected.argmax(-1)), 1)
    assert report["confusion"] == confusion.tolist() and report["count"] == len(files)
    # The temperature of the network is 2: its probabilities give the loss at this temperature.
    loss = -np.log(expected[np.arange(len(files)), labels]).mean()
    scaled = report["temperature_scaled"]
    assert scaled["temperature"] == 2.0 and scaled["loss"] == pytest.approx(loss, rel=1e-5)
    written = json.loads((tmp_path / "out" / "eval.json").read_text())
    assert written["file"]["name"] == path.name and written["accuracy"] == report["accuracy"]
    again = evaluate_file(path, data_config(pictures), compare=tmp_path / "out")
    assert again["comparison"]


def test_the_command_needs_a_run_or_a_file_with_data(path, pictures):
    """The command refuses options of runs instead of ignoring them."""
    for arguments, message in (
        ([], "either --workdir DIR"),
        (["--workdir", "x", "--file", str(path)], "either --workdir DIR"),
        (["--file", str(path)], "needs --data SOURCE"),
        (["--file", str(path), "--data", "x", "--split", "train"], "--split concerns runs"),
        *(
            (["--file", str(path), "--data", "x", f"--config.{key}={value}"], f"config.{key} would")
            for key, value in (("evaluation.tta", "flip"), ("model.name", "resnet18"))
        ),
        (["--file", str(path), "--data", f"folder:{pictures}/train/daisy"], "daisy"),
    ):
        with pytest.raises(UserError, match=message):
            command.main(arguments)


def test_the_results_of_a_run_are_kept(path, pictures, tmp_path):
    """Those of a file would replace them in the folder of the run."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "eval.json").write_text("of the run")
    with pytest.raises(UserError, match="is the folder of a run; give --out another folder"):
        evaluate_file(path, data_config(pictures), tmp_path)
    with pytest.raises(UserError, match="is a file; give --out the name of a folder"):
        evaluate_file(path, data_config(pictures), tmp_path / "eval.json")
    assert (tmp_path / "eval.json").read_text() == "of the run"


@pytest.mark.slow
def test_training_evaluation_and_files_agree(pictures, tmp_path):
    """The accuracy of the same images from the loop, `netzoo eval` and the file of each format."""
    config, workdir = tiny_config(pictures), tmp_path / "run"
    config.train.epochs, config.evaluation.every_epochs = 3, 3
    config.train.ema_decay = 0.0  # the loop evaluates the weights that a file has
    train(config, workdir)
    [line] = read_metrics(workdir / "metrics.jsonl", {}, "eval")
    evaluated = evaluate_run(workdir, split="validation", page=False)
    assert evaluated["count"] == 11 and evaluated["accuracy"] == line["validation_accuracy"]
    predictor = Predictor.from_run(workdir)
    rows = config.copy_and_resolve_references()
    rows.data.test_split = config.data.validation_split
    images = run_images(predictor, workdir, config)
    for name in installed_formats():
        known = FORMATS[name]
        path = tmp_path / f"small{known.suffix}"
        export_classifier(predictor, config.model.name, path, name, images)
        report = evaluate_file(path, rows)
        assert report["confusion"] == evaluated["confusion"]
        assert report["loss"] == pytest.approx(evaluated["loss"], rel=1e-5)
        assert FileClassifier(path).class_names == predictor.class_names
