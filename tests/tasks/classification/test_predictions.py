"""The predictions of an evaluation, by example."""

import jax
import numpy as np
import pytest

from netzoo.data.duplicates import Pair, write_pairs
from netzoo.errors import UserError
from netzoo.tasks import create_task
from netzoo.tasks.classification.predictions import (
    PREDICTIONS_FILE,
    Prediction,
    predictions,
    read_predictions,
    write_predictions,
)
from netzoo.training.evaluation import evaluate, evaluate_rows
from tests.conftest import tiny_config


def test_every_example_of_the_split_has_a_line(pictures, tmp_path, monkeypatch):
    """The file has the names and labels in order, and agrees with the confusion matrix."""
    config = tiny_config(pictures)
    config.data.on_corrupt = "skip"
    task = create_task(config)
    names = task._source("test").names
    task._source("test")._root = tmp_path  # one picture of eleven cannot be read
    for name in names[:4] + names[5:]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((pictures / name).read_bytes())
    variables = jax.jit(task.init)(jax.random.key(0))
    batches = task.evaluation_batches("test")
    sums, rows = evaluate_rows(jax.jit(task.final_step("test")), variables, batches)
    plain = evaluate(jax.jit(task.evaluation_sums), variables, batches)
    jax.tree.map(np.testing.assert_array_equal, sums, plain)
    report, write = task.report(variables, "test", sums, rows)
    write(tmp_path)
    found = read_predictions(tmp_path / PREDICTIONS_FILE)
    assert [row.name for row in found] == names[:4] + names[5:]
    assert [row.label for row in found] == [row.name.split("/")[1] for row in found]
    confusion = np.zeros((3, 3), int)
    for row in found:
        confusion[task.class_names.index(row.label), task.class_names.index(row.prediction)] += 1
    assert (confusion == sums["confusion"]).all()
    loss = -np.log([row.probability for row in found]).sum()
    assert loss == pytest.approx(sums["loss_sum"], rel=1e-4)
    assert all(row.confidence >= row.probability for row in found)
    assert all((row.confidence == row.probability) == row.correct for row in found)
    assert report["left_out"] == 1
    assert (tmp_path / "reliability.png").stat().st_size > 10_000


def test_a_split_with_too_many_logits_has_sums_only(pictures, tmp_path, monkeypatch, capsys):
    """Protects the memory of the host."""
    monkeypatch.setattr("netzoo.tasks.classification.single_label._MOST_LOGITS", 32)
    task = create_task(tiny_config(pictures))
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    batch = next(iter(task.evaluation_batches("test")))
    _, rows = jax.eval_shape(task.final_step("test"), shapes, batch)
    assert rows == {}
    assert "too large to keep its predictions" in capsys.readouterr().err


def test_names_are_escaped_and_come_back(tmp_path):
    """Names of files and classes come from strangers: commas, quotes, line ends, escape codes."""
    names, classes = ["a,b\n.jpg", 'q"\x1b[31m.jpg'], ["cat, large", "dog\u202e"]
    shares = np.array([[0.25, 0.75], [0.6, 0.4]])
    rows = [*predictions(names, np.array([0, 0]), shares, classes)]
    write_predictions(tmp_path / "p.csv", iter(rows))
    text = (tmp_path / "p.csv").read_text()
    assert "\x1b" not in text and "\u202e" not in text and len(text.splitlines()) == 3
    assert read_predictions(tmp_path / "p.csv") == rows
    assert rows[0][2:] == (rows[0].prediction, 0.25, 0.75) and not rows[0].correct
    assert rows[1] == Prediction(rows[1].name, "cat, large", "cat, large", 0.6, 0.6)


@pytest.mark.parametrize("line", ["a,b,c,1,2,3", "a,b,c,0.5,1.5", "a,b,c,0.5,nan", 'a,"b', "a\0"])
def test_a_damaged_file(line, tmp_path):
    """Protects comparisons from a traceback."""
    write_predictions(tmp_path / "p.csv", iter(()))
    with (tmp_path / "p.csv").open("a") as file:
        file.write(line)
    with pytest.raises(UserError, match=r"p\.csv is not a list of predictions, or is damaged"):
        read_predictions(tmp_path / "p.csv")
    (tmp_path / "p.csv").write_text("name\n")
    with pytest.raises(UserError, match="its first line is not"):
        read_predictions(tmp_path / "p.csv")


def test_the_accuracy_without_duplicates(pictures, tmp_path):
    """Images that training knows or that have two classes are left out, by name."""
    config = tiny_config(pictures)
    config.evaluation.duplicates = str(tmp_path / "list.csv")
    task = create_task(config)
    with pytest.raises(UserError, match="cannot read"):  # before anything is computed
        task.final_step("test")
    names = task._source("test").names
    pairs = [
        Pair(9, False, names[1], "test", "roses", "train/roses/01.png", "train", "roses"),
        Pair(-1, True, names[2], "test", "roses", names[5], "test", "tulips"),
        Pair(9, False, names[3], "test", "roses", names[4], "test", "roses"),
    ]
    write_pairs(tmp_path / "list.csv", pairs)
    labels = np.array([task.class_names.index(name.split("/")[1]) for name in names])
    guesses = np.where(np.arange(11) < 4, (labels + 1) % 3, labels)  # the first four are wrong
    rows = {"logits": np.eye(3)[guesses], "label": labels, "mask": np.ones(11, bool)}
    confusion = np.zeros((3, 3), int)
    np.add.at(confusion, (labels, guesses), 1)
    report, _ = task.report({}, "test", {"confusion": confusion}, rows)
    found = report["without_duplicates"]
    assert found["left_out"] == sorted([names[1], names[2], names[5]])
    assert (found["accuracy"], found["count"]) == (6 / 8, 8)
    write_pairs(
        tmp_path / "list.csv",
        [p._replace(contradicting=True, first=n) for n in names for p in pairs[:1]],
    )
    with pytest.raises(UserError, match="lists every evaluated image"):
        task.report({}, "test", {"confusion": confusion}, rows)
