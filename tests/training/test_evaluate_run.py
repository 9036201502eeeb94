"""Evaluation of a run: early errors, and the results that a failure leaves."""

import json

import jax
import pytest

from netzoo.config import save_config
from netzoo.console import say
from netzoo.errors import UserError
from netzoo.tasks import create_task
from netzoo.training import evaluate_run as module
from netzoo.training.evaluate_run import evaluate_run
from tests.conftest import tiny_translation_config


@pytest.fixture
def workdir(tmp_path):
    """A folder with the configuration of a run."""
    folder = tmp_path / "run"
    folder.mkdir()
    save_config(tiny_translation_config(), folder)
    return folder


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_run_without_a_split_says_which_key(split, tmp_path):
    """Protects runs that were trained without a test or validation split."""
    config = tiny_translation_config()
    config.data[f"{split}_split"] = None
    save_config(config, tmp_path)
    message = rf"nothing to evaluate on.* --config.data.{split}_split=SPLIT --out DIR"
    with pytest.raises(UserError, match=message):
        evaluate_run(tmp_path, split=split)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.source", "parallel:x.{a,b}"),
        ("data.test_split", "x"),
        ("data.lengths", (4, 8)),
        ("evaluation.beam_size", 1),
        ("evaluation.bleu_tokenizer", "char"),
        ("matmul_precision", "highest"),
    ],
)
def test_results_of_other_data_or_settings_need_a_folder(key, value, workdir, tmp_path):
    """Protects a run's eval.json, and another run's, from other scores."""
    config = tiny_translation_config()
    config.update_from_flattened_dict({key: value})
    for out in (None, workdir, tmp_path / "run"):
        with pytest.raises(UserError, match=rf"{key} is .*, but the run has .* add --out"):
            evaluate_run(workdir, config=config, out=out)
    other = tmp_path / "other"
    other.mkdir()
    save_config(config, other)
    with pytest.raises(UserError, match="other is the folder of a run"):
        evaluate_run(workdir, config=config, out=other)


def test_results_are_written_through_no_link(workdir, tmp_path, monkeypatch):
    """Protects a file elsewhere from a link in a stranger's run."""
    (tmp_path / "mine").write_text("text")
    (workdir / "eval.json").symlink_to(tmp_path / "mine")
    fake_evaluation(monkeypatch, lambda folder: None)
    evaluate_run(workdir)
    assert (tmp_path / "mine").read_text() == "text"
    assert not (workdir / "eval.json").is_symlink()


def test_results_of_another_split_go_to_a_folder_of_their_own(workdir, monkeypatch):
    """Protects the scores and figures of the test split from those of the validation split."""
    fake_evaluation(monkeypatch, lambda folder: (folder / "drawn").touch())
    (workdir / "eval.json").write_text("test")
    evaluate_run(workdir, split="validation")
    report = json.loads((workdir / "eval_validation" / "eval.json").read_text())
    assert report["split"] == tiny_translation_config().data.validation_split
    assert (workdir / "eval_validation" / "drawn").exists()
    assert (workdir / "eval.json").read_text() == "test" and not (workdir / "drawn").exists()
    (workdir / "eval_train").symlink_to(workdir.parent)
    with pytest.raises(UserError, match="eval_train is a link"):
        evaluate_run(workdir, split="train")
    with pytest.raises(UserError, match="run is the folder of a run"):
        evaluate_run(workdir, split="validation", out=workdir)
    config = tiny_translation_config()
    config.data.validation_split = "test[:3]"
    with pytest.raises(UserError, match=r"data\.validation_split is .* add --out"):
        evaluate_run(workdir, config=config, split="validation")


@pytest.mark.parametrize("out", [None, "out"])
def test_results_go_to_the_folder_that_is_named(out, workdir, tmp_path, monkeypatch):
    """Protects the results of a run, including its figures, from those of other data."""
    (workdir / "eval.json").write_text("old")
    fake_evaluation(monkeypatch, lambda folder: (folder / "drawn").touch())
    config = tiny_translation_config()
    config.data.test_split = "validation" if out else config.data.test_split
    folder = tmp_path / "new" / out if out else workdir
    report = evaluate_run(workdir, config=config, out=out and folder)
    written = json.loads((folder / "eval.json").read_text())
    assert written == json.loads(json.dumps(report))
    assert (written["split"], written["checkpoint"], written["weights"]) == (
        config.data.test_split,
        "last",
        "params",
    )
    assert written["data"] == {"examples": 11, "names": config.data.test_split}
    assert {"netzoo", "jax", "numpy"} <= written["versions"].keys() and "commit" in written
    keys = ("data.source", "data.lengths", "evaluation.beam_size", "model.name", "model.variant")
    assert [written["settings"][key] for key in keys] == [
        *("number_words", [8, 16], 4, "transformer_tiny", [1, 16, 32, 2, 0.1])
    ]
    assert (folder / "drawn").exists()
    assert (workdir / "eval.json").read_text() == "old" or not out


def test_a_place_that_cannot_be_written_is_refused_at_once(workdir):
    """Protects an hour of evaluating."""
    (workdir / "eval.json").mkdir()
    with pytest.raises(UserError, match=r"eval\.json: it is a folder"):
        evaluate_run(workdir)


def test_a_network_with_other_options_than_the_weights(workdir, tmp_path, monkeypatch):
    """Protects from a traceback when a key of the network does not fit the weights of the run."""
    config = tiny_translation_config()
    task = create_task(config)
    task.save(workdir)
    variables = jax.eval_shape(task.init, jax.random.key(0))
    monkeypatch.setattr(module, "restore_variables", lambda *args: (7, "params", variables))
    config.model.variant = (2, 16, 32, 2, 0.1)
    with pytest.raises(UserError, match=r"do not belong to this Transformer:\n.*expected \("):
        evaluate_run(workdir, config=config, out=tmp_path / "out")


class Evaluated:
    """A task that has already been evaluated."""

    model, main_metric = None, "bleu"

    def __init__(self, config, draw):
        self.config, self.draw = config, draw

    def init(self, key):
        return {}

    def batch_sizes(self, training):
        return {}

    def fingerprint(self, split):
        return {"examples": 11, "names": split}

    def evaluation_batches(self, split, limit=None):
        return []

    def final_step(self, split):
        return None

    def metrics(self, sums, rows):
        return {"loss": 0.5}

    def fitted(self, *others):
        return None

    def report(self, variables, split, sums, rows, fitted):
        return {"bleu": 40.0}, self.draw

    def page(self, variables, split, rows, report, run, explain):
        return f"{run.network}, loss {report['loss']}"

    def pictures(self, split, rows, report):
        return {}

    def show(self, report):
        say(str(report))


def fake_evaluation(monkeypatch, draw):
    monkeypatch.setattr(module, "evaluation_task", lambda config, _: Evaluated(config, draw))
    monkeypatch.setattr(module, "restore_variables", lambda *args: (7, "params", {}))
    monkeypatch.setattr(module, "check_variables", lambda *args: None)
    monkeypatch.setattr(module, "evaluate_rows", lambda *args: ({}, {}))


def test_figures_outlive_a_picture_that_cannot_be_drawn(workdir, monkeypatch, capfd):
    """Protects the results of the evaluation: they are printed and saved before any drawing."""

    def draw(folder):
        raise OSError("the disk is full")

    fake_evaluation(monkeypatch, draw)
    with pytest.raises(OSError, match="the disk is full"):
        evaluate_run(workdir)
    report = json.loads((workdir / "eval.json").read_text())
    assert (report["loss"], report["bleu"], report["step"]) == (0.5, 40.0, 7)
    assert "'bleu': 40.0" in capfd.readouterr().out


@pytest.mark.parametrize("page", [True, False])
def test_the_page_is_written_beside_the_scores(page, workdir, monkeypatch, capsys):
    """Whoever does not want the page can omit it."""
    fake_evaluation(monkeypatch, lambda folder: None)
    evaluate_run(workdir, page=page)
    path, out = workdir / "report.html", capsys.readouterr().out
    assert path.exists() == (f"report: {path}" in out) == page
    assert not page or path.read_text() == "transformer_tiny, loss 0.5"


def test_a_task_that_compares_nothing_says_so(workdir, tmp_path):
    """Protects from an evaluation whose comparison fails at its end."""
    create_task(tiny_translation_config()).save(workdir)
    with pytest.raises(UserError, match="translation compares no evaluations; omit --compare"):
        evaluate_run(workdir, compare=tmp_path)


def test_the_results_of_the_same_split_are_compared(tmp_path):
    """A run is compared with the results on the same split; a folder of results is taken as is."""
    save_config(tiny_translation_config(), tmp_path)
    (tmp_path / "out").mkdir()
    assert module._results(tmp_path, "test") == tmp_path
    assert module._results(tmp_path, "validation") == tmp_path / "eval_validation"
    assert module._results(tmp_path / "out", "validation") == tmp_path / "out"


def test_tensorboard_shows_an_evaluation_as_a_run(workdir, tmp_path, monkeypatch):
    """The newest evaluation of a split replaces the one before it; other results leave no trace."""
    fake_evaluation(monkeypatch, lambda folder: None)
    for _ in range(2):
        evaluate_run(workdir)
    [path] = (workdir / "tensorboard" / "eval_test").iterdir()
    assert b"final/loss" in path.read_bytes() and b"final/bleu" in path.read_bytes()
    evaluate_run(workdir, split="validation", out=tmp_path / "out")
    config = tiny_translation_config()
    config.writers = ("jsonl",)
    evaluate_run(workdir, split="validation", config=config)
    assert [p.name for p in (workdir / "tensorboard").iterdir()] == ["eval_test"]


def test_every_evaluation_of_the_test_split_is_counted(workdir, tmp_path, monkeypatch, capsys):
    """Whoever tries several weights or settings on the test split cannot hide it."""
    log = workdir / "test_evaluations.json"
    fake_evaluation(monkeypatch, lambda folder: None)
    monkeypatch.setattr(Evaluated, "show", lambda *_: say(f"{len(json.loads(log.read_text()))}"))
    assert evaluate_run(workdir)["test_evaluations"] == 1
    assert capsys.readouterr().out.startswith("1\n")  # counted before the scores are shown
    assert evaluate_run(workdir, out=tmp_path / "again")["test_evaluations"] == 2
    config = tiny_translation_config()
    config.evaluation.beam_size = 1
    evaluate_run(workdir, config=config, out=tmp_path / "other")
    config.data.validation_split = config.data.test_split
    evaluate_run(workdir, config=config, split="validation", out=tmp_path / "disguised")
    beams = [entry["settings"]["evaluation.beam_size"] for entry in json.loads(log.read_text())]
    assert beams == [4, 4, 1, 1]
    assert "test_evaluations" not in evaluate_run(workdir, split="validation")
    config.data.test_split = "test[:5]"
    assert "test_evaluations" not in evaluate_run(workdir, config=config, out=tmp_path / "part")
    assert len(json.loads(log.read_text())) == 4
