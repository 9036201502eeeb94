"""Images with any number of classes: scores, thresholds, and a whole run."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from netzoo.config import default_config, load_config, validate
from netzoo.data.sources.open import SOURCES
from netzoo.errors import UserError
from netzoo.tasks import create_task, predict
from netzoo.tasks.classification.multi_label_scores import best_thresholds, multi_label_scores
from netzoo.tasks.classification.thresholds import THRESHOLDS_FILE
from netzoo.training import train
from netzoo.training.evaluate_run import evaluate_run
from tests.conftest import tiny_config

CLASSES = ("red", "green", "blue", "none")
RNG = np.random.default_rng(0)
LABELS = (RNG.random((60, 4)) < [0.5, 0.2, 0.05, 0.0]).astype(np.float32)
# With ties, which all have to be on one side of a threshold.
PROBABILITIES = np.round(np.clip(0.35 * LABELS + RNG.random((60, 4)) * 0.65, 0, 1), 2)


def test_scores_equal_those_of_scikit_learn():
    """Values of scikit-learn 1.9.1: average_precision_score, f1_score(zero_division=0)."""
    scores = multi_label_scores(PROBABILITIES, LABELS, CLASSES)
    expected = [0.9405926526099497, 0.7743243005150025, 0.7666666666666666]
    found = [entry["average_precision"] for entry in scores["per_class"]]
    np.testing.assert_allclose(found[:3], expected, rtol=0, atol=1e-9)
    assert found[3] is None
    np.testing.assert_allclose(scores["mean_average_precision"], np.mean(expected), atol=1e-9)
    np.testing.assert_allclose(scores["micro_f1"], 0.5801526717557252, atol=1e-9)
    np.testing.assert_allclose(scores["macro_f1"], 0.42341741450400194, atol=1e-9)
    by_class = [0.8064516129032258, 0.5714285714285714, 0.3157894736842105, 0.0]
    f1 = [entry["f1"] for entry in scores["per_class"]]
    np.testing.assert_allclose(f1, by_class, atol=1e-9)
    exact = ((PROBABILITIES >= 0.5) == LABELS).all(1).mean()
    assert scores["exact_match"] == exact and scores["count"] == 60


def test_thresholds_have_the_highest_f1():
    """No other threshold is better on the same predictions; a class without images has 0.5."""
    best = best_thresholds(PROBABILITIES, LABELS)
    chosen = multi_label_scores(PROBABILITIES, LABELS, CLASSES, best)["per_class"]
    assert best[3] == 0.5 and [entry["threshold"] for entry in chosen] == best.tolist()
    for number in range(3):
        for value in np.unique(PROBABILITIES[:, number]):
            others = np.where(np.arange(4) == number, value, best)
            scores = multi_label_scores(PROBABILITIES, LABELS, CLASSES, others)
            assert scores["per_class"][number]["f1"] <= chosen[number]["f1"]
    assert not np.isin(best[:3], PROBABILITIES).any()  # between two probabilities


class Tags:
    """Noise in three channels; each channel stands for a class and is bright if it is labelled."""

    name, class_names, multi_label = "tags", CLASSES[:3], True

    def __init__(self, text, split):
        self.split, self._offset = split, {"train": 0, "val": 100, "test": 200}[split]
        self._length = 40 if split == "train" else 12

    def __len__(self):
        return self._length

    def __getitem__(self, index):
        rng = np.random.default_rng(index + self._offset)
        label = rng.integers(0, 2, 3).astype(np.float32)
        image = np.clip(rng.normal(60 + 120 * label, 30, (16, 16, 3)), 0, 255).astype(np.uint8)
        return {"image": image, "label": label, "name": f"{self.split} {index}"}


@pytest.fixture
def config(monkeypatch):
    """A run on `Tags`."""
    monkeypatch.setitem(SOURCES, "tags", Tags)
    config = tiny_config("")
    config.data.update(source="tags:", multi_label=True)
    config.train.update(loss="binary_cross_entropy", label_smoothing=0.0)
    return config


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.loss", "poly", "expected binary_cross_entropy, focal, asymmetric with data.multi"),
        ("train.label_smoothing", 0.1, "label_smoothing is 0.1; expected 0.0 with data.multi_l"),
        ("train.balance", "sampling", "it needs one class per image"),
        ("distill.teacher", ("x",), "it needs one class per image"),
        ("evaluation.tta", "flip", "it needs one class per image"),
    ],
)
def test_what_does_not_fit_is_refused(key, value, message):
    """Settings that need one class per image are refused before anything is opened."""
    config = default_config()
    config.data.multi_label, config.train.loss = True, "focal"
    validate(config)
    config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=message):
        validate(config)


def test_the_kind_of_labels_is_checked(config, pictures):
    """A key that does not fit the data is refused before anything is compiled."""
    config.data.source = f"folder:{pictures}"
    with pytest.raises(UserError, match="have one class each"):
        create_task(config)
    config.data.update(source="tags:", multi_label=False)
    with pytest.raises(UserError, match="may have several classes"):
        create_task(config)


def test_targets_and_sums(config):
    """The loss takes the label vectors. Padding is not counted."""
    config.augment.mixup = 0.0
    task = create_task(config)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    variables = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    bias = np.array([2.0, -1.0, 0.0], np.float32)
    variables["params"]["logits"]["bias"] = jnp.array(bias)
    batch = next(task.train_iterator())
    loss, _, metrics = task.loss(variables, batch, jax.random.key(1))
    expected = np.log1p(np.exp(bias)) - batch["label"] * bias
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)
    red = batch["label"][:, 0].sum()  # the only predicted class
    np.testing.assert_allclose(metrics["micro_f1"], 2 * red / (8 + batch["label"].sum()))
    mask = np.array([True, False, False, False])
    padded = [*task.evaluation_batches("test")][-1] | {"mask": mask}
    sums, rows = task.evaluation_step(variables, padded)
    expected = (np.log1p(np.exp(bias)) - padded["label"][0] * bias).mean()
    np.testing.assert_allclose(sums["loss_sum"], expected, rtol=1e-5)
    assert task.metrics(sums, jax.device_get(rows))["count"] == 1


@pytest.mark.slow
def test_a_run_from_training_to_prediction(config, tmp_path, capsys):
    """Thresholds come from the validation split, and evaluations and predictions use them."""
    config.optimizer.learning_rate = 0.01
    config.augment.mixup, config.train.epochs = 0.0, 6
    assert train(config, tmp_path / "run") == 0
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert log[-1]["validation_mean_average_precision"] > 0.9
    with pytest.raises(UserError, match="on the run's validation split: omit --out"):
        evaluate_run(tmp_path / "run", thresholds=True, out=tmp_path / "out")
    with pytest.raises(UserError, match="thresholds, not a temperature"):
        evaluate_run(tmp_path / "run", temperature=["fit"])
    before = evaluate_run(tmp_path / "run")
    assert {entry["threshold"] for entry in before["per_class"]} == {0.5}
    on_validation = evaluate_run(tmp_path / "run", split="validation", thresholds=True)
    after = evaluate_run(tmp_path / "run", thresholds=True)
    assert [e["threshold"] for e in on_validation["per_class"]] == [
        e["threshold"] for e in after["per_class"]
    ]  # the validation split decides, whichever split is evaluated
    assert evaluate_run(tmp_path / "run")["per_class"] == after["per_class"]
    stored = json.loads((tmp_path / "run" / THRESHOLDS_FILE).read_text())
    assert [entry["threshold"] for entry in after["per_class"]] == stored["thresholds"]
    assert after["own_thresholds"] and after["mean_average_precision"] > 0.9
    page = (tmp_path / "run" / "report.html").read_text()
    assert "mean average precision" in page and "highest F1 on the validation" in page
    lines = (tmp_path / "run" / "eval_predictions.csv").read_text().splitlines()
    assert lines[0] == "name,label,red,green,blue" and len(lines) == 13
    example = Tags("", "test")[0]
    Image.fromarray(example["image"]).save(tmp_path / "photo.png")
    capsys.readouterr()
    options = {"json": True}
    run = load_config(tmp_path / "run")
    assert predict(run, tmp_path / "run", [str(tmp_path / "photo.png")], options) == 0
    [entry] = json.loads(capsys.readouterr().out)
    row = [float(value) for value in lines[1].split(",")[2:]]
    chosen = {n for n, p, t in zip(CLASSES, row, stored["thresholds"], strict=False) if p >= t}
    assert {found["class"] for found in entry["predictions"]} == chosen
