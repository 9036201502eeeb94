"""Writers beside metrics.jsonl: what they get, and what happens when they fail."""

import importlib.util
import io
import json
import sqlite3
import sys
from types import SimpleNamespace

import pytest
from PIL import Image

from netzoo.errors import UserError
from netzoo.training.prepare import prepare_run
from netzoo.workdir.metrics_log import MetricsWriter
from netzoo.workdir.writers import SERVICES, check_writers
from netzoo.workdir.writers.tensorboard import write_evaluation
from tests.conftest import tiny_config
from tests.workdir.test_metrics_log import events

CONFIG = {"seed": 3, "model.name": "small", "augment.crop_scale": (0.25, 1.0), "init.weights": None}
ALL = ("jsonl", "tensorboard", *SERVICES)


class Fake:
    """A service that keeps what it gets, and fails at step 2 if it should."""

    def __init__(self, workdir, identity, config):
        print("a library greets")
        self.identity, self.config, self.numbers, self.closed = identity, config, {}, 0
        self.fails = False

    def write(self, step, numbers):
        if self.fails and step == 2:
            raise ConnectionError("no server")
        self.numbers[step] = dict(numbers)

    def close(self):
        self.closed += 1


@pytest.fixture
def opened(monkeypatch):
    """Let `trackio` be a fake; return those that are opened."""
    found = []

    def open_writer(*arguments):
        found.append(Fake(*arguments))
        return found[-1]

    module = SimpleNamespace(open_writer=open_writer)
    monkeypatch.setitem(sys.modules, "netzoo.workdir.writers.trackio", module)
    return found


def write(folder, steps, resume_step=None, writers=("jsonl", "trackio")):
    """Write train lines of steps."""
    options = {"resume_step": resume_step, "writers": writers, "config": CONFIG}
    with MetricsWriter(folder, **options) as log:
        for step in steps:
            log.write("train", step, 0.5, {"loss": 1 / step, "weights": "ema"}, {"rate": 2.0})


def test_a_service_gets_configuration_and_numbers(opened, tmp_path, capfd):
    """Texts stay in metrics.jsonl, and the output of a library stays out of the results."""
    write(tmp_path, [1, 2])
    [fake] = opened
    assert fake.config == CONFIG and fake.closed == 1
    assert fake.numbers == {1: {"train/loss": 1, "timing/rate": 2}, 2: fake.numbers[2]}
    done = capfd.readouterr()
    assert done.out == "" and "greets" in done.err
    assert not [*(tmp_path / "tensorboard").iterdir()]  # it is not among the writers


def test_a_continued_run_is_the_same_run_for_a_service(opened, tmp_path):
    """A new run in the same folder is another one."""
    write(tmp_path, [1, 2])
    write(tmp_path, [3], resume_step=2)
    write(tmp_path, [1])
    first, second, third = (fake.identity for fake in opened)
    assert first == second != third
    (tmp_path / "writers.json").write_text(json.dumps({"run": "' or 1 = 1"}))
    write(tmp_path, [3], resume_step=2)
    assert opened[-1].identity != "' or 1 = 1"


def test_a_service_that_fails_does_not_end_the_run(opened, tmp_path, capfd):
    """The log is complete; the failure is noted once."""
    with MetricsWriter(tmp_path, resume_step=None, writers=("jsonl", "trackio")) as log:
        opened[0].fails = True
        for step in (1, 2, 3):
            log.write("train", step, 0.5, {"loss": 1.0})
    assert list(opened[0].numbers) == [1]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3
    assert capfd.readouterr().err.count("the writer trackio failed; the run continues") == 1


def test_a_service_that_cannot_start_is_an_error(monkeypatch, tmp_path):
    """A missing login, for example, stops the run before its first step."""

    def refuse(*arguments):
        raise RuntimeError("no API key")

    module = SimpleNamespace(open_writer=refuse)
    monkeypatch.setitem(sys.modules, "netzoo.workdir.writers.wandb", module)
    with pytest.raises(UserError, match="the writer wandb cannot start: no API key"):
        write(tmp_path, [1], writers=("jsonl", "wandb"))


@pytest.mark.parametrize("name", SERVICES)
def test_an_absent_package_is_named_before_the_data_are_opened(name, monkeypatch):
    """Protects from an hour of training without its numbers."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *o: None if n == name else find(n))
    config = tiny_config("no such folder")
    config.writers = ("jsonl", name)
    with pytest.raises(UserError, match=rf"needs the package {name}: .*'netzoo\[{name}\]'"):
        prepare_run(config, None)
    check_writers(("jsonl", "tensorboard"))


def test_tensorboard_gets_the_hyper_parameters(tmp_path):
    """A new run has them, and a continued run does not repeat them."""
    write(tmp_path, [1], writers=("jsonl", "tensorboard"))
    write(tmp_path, [2], resume_step=1, writers=("jsonl", "tensorboard"))
    values = [value for event in events(tmp_path) for value in event.summary.value]
    [start] = [v for v in values if v.tag == "_hparams_/session_start_info"]
    stored = start.metadata.plugin_data.content
    assert b"model.name" in stored and b"small" in stored and b"(0.25, 1.0)" in stored
    assert [v.simple_value for v in values if v.tag == "train/loss"] == [1, 0.5]


def test_tensorboard_gets_pictures(tmp_path):
    """A picture keeps its bytes, and its size is that in its header."""
    file = io.BytesIO()
    Image.new("RGB", (7, 5)).save(file, "png")
    write_evaluation(tmp_path / "tensorboard", 4, {"final/loss": 0.5}, {"a": file.getvalue()})
    [loss, picture] = [(e.step, v) for e in events(tmp_path) for v in e.summary.value]
    assert (loss[0], loss[1].tag, loss[1].simple_value) == (4, "final/loss", 0.5)
    image = picture[1].image
    assert (picture[0], picture[1].tag, image.width, image.height) == (4, "a", 7, 5)
    assert image.encoded_image_string == file.getvalue()


@pytest.mark.slow
def test_wandb_offline(tmp_path, monkeypatch):
    """A run without a network is kept in the run folder, for `wandb sync`."""
    pytest.importorskip("wandb", reason="needs the extra wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    write(tmp_path, [1, 2], writers=("jsonl", "wandb"))
    identity = json.loads((tmp_path / "writers.json").read_text())["run"]
    [path] = tmp_path.glob(f"wandb/offline-run-*/run-{identity}.wandb")
    data = path.read_bytes()
    assert b"train/loss" in data and b"model.name" in data


@pytest.mark.slow
def test_mlflow_in_a_file(tmp_path, monkeypatch):
    """Without a server, numbers and parameters go to a file in the run folder."""
    mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")
    pytest.importorskip("sqlalchemy", reason="needs the extra mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write(tmp_path, [1, 2], writers=("jsonl", "mlflow"))
    write(tmp_path, [3], resume_step=2, writers=("jsonl", "mlflow"))
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    [run] = client.search_runs([client.get_experiment_by_name("netzoo").experiment_id])
    assert run.data.params["augment.crop_scale"] == "(0.25, 1.0)" and run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(m.step, m.value) for m in history] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


@pytest.mark.slow
def test_trackio_in_a_folder(tmp_path, monkeypatch):
    """Numbers go to Trackio's local folder; a continued run has the same name."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio", reason="needs the extra trackio")
    write(tmp_path / "run", [1, 2], writers=("jsonl", "trackio"))
    write(tmp_path / "run", [3], resume_step=2, writers=("jsonl", "trackio"))
    identity = json.loads((tmp_path / "run" / "writers.json").read_text())["run"]
    [path] = (tmp_path / "trackio").glob("*.db")
    rows = sqlite3.connect(path).execute("select run_name, step, metrics from metrics").fetchall()
    assert {(name, step) for name, step, _ in rows} == {(f"run-{identity}", n) for n in (1, 2, 3)}
    assert "train/loss" in str(rows[0][2])
