"""Linear probe and nearest neighbours against their definitions, and the record of a probe."""

import json

import jax
import numpy as np
import pytest
from scipy.special import log_softmax

from netzoo.cli.probe import main
from netzoo.errors import UserError
from netzoo.models import create_model
from netzoo.models.summary import variable_shapes
from netzoo.tasks.classification import features as features_module
from netzoo.tasks.classification.features import Features
from netzoo.tasks.classification.predictor import Predictor
from netzoo.tasks.classification.probe import LinearProbe, Neighbours, choose, fit_heads, vote
from netzoo.weights import Preprocessing, load, save_safetensors

MODEL = "mobilenet_v1_025"


def drawn(rows, width, classes=3, noise=1.0, seed=0):
    """Features of classes with different means, far from 0."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows).astype(np.int32)
    means = np.random.default_rng(99).normal(size=(classes, width))
    values = 5 + 3 * (means[labels] + noise * rng.normal(size=(rows, width)))
    return Features(values.astype(np.float32), labels)


@pytest.mark.parametrize(("rows", "width"), [(60, 8), (20, 40)])
def test_the_linear_probe_is_the_optimum(rows, width):
    """Protects the definition: the gradient of C * sum of cross-entropies + |kernel|^2 / 2 is 0.

    The features of this loss are centred and have a mean variance of 1.
    """
    train = drawn(rows, width)
    x = train.values.astype(float) - train.values.mean(0, dtype=float)
    scale = np.sqrt(np.square(x).mean())
    x /= scale
    for c, head in zip((0.01, 1.0), fit_heads(train, 3, (0.01, 1.0)), strict=True):
        kernel = head.kernel * scale
        logits = train.values @ head.kernel + head.bias
        error = np.exp(log_softmax(logits, 1)) - np.eye(3)[train.labels]
        np.testing.assert_allclose(c * x.T @ error + kernel, 0, atol=2e-4 * np.abs(kernel).max())
        np.testing.assert_allclose(error.sum(0), 0, atol=1e-3)


def test_votes_are_those_of_the_definitions():
    """Protects DINO's weights exp(cosine / 0.07), plain votes, and both metrics."""
    train, values = drawn(30, 5, noise=2.0), drawn(9, 5, noise=2.0, seed=1).values.astype(float)
    known = train.values.astype(float)
    norms = np.linalg.norm(known, axis=1), np.linalg.norm(values, axis=1)[:, None]
    cosine = values @ known.T / norms[0] / norms[1]
    distance = np.linalg.norm(values[:, None] - known, axis=-1)
    for name, near, weights in (
        ("cosine weighted", cosine, np.exp(cosine / 0.07)),
        ("cosine", cosine, np.ones_like(cosine)),
        ("euclidean", -distance, np.ones_like(cosine)),
    ):
        for k, found in zip((1, 7), vote(train, values, 3, name, (1, 7)), strict=True):
            ballots = np.zeros((9, 3))
            for row, order in enumerate(np.argsort(-near, axis=1, kind="stable")[:, :k]):
                np.add.at(ballots[row], train.labels[order], weights[row, order])
            np.testing.assert_array_equal(found, ballots.argmax(1))


def test_settings_are_chosen_on_the_validation_split_or_on_folds():
    """Protects the choice: the setting with the most correct answers, the first of equal ones."""
    train, validation = drawn(50, 4), drawn(40, 4, seed=1)
    for method in (LinearProbe(3), Neighbours(3, 50)):
        for held in (validation, None):
            found = choose(method, train, held)
            best = max(entry["accuracy"] for entry in found.tried)
            first = next(entry for entry in found.tried if entry["accuracy"] == best)
            assert first == {**found.setting, "accuracy": found.correct / found.examples}
            assert found.examples == (40 if held else 50) and len(found.tried) > 8
    fitted = LinearProbe(3).fit(train, {"C": 0.01}).predict(validation.values)
    row = [s["C"] for s in LinearProbe(3).settings].index(0.01)
    np.testing.assert_array_equal(LinearProbe(3).predictions(train, validation.values)[row], fitted)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of drawn weights with a head for seven classes."""
    shapes = variable_shapes(create_model(MODEL, 7), 32)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.uniform(-0.5, 1, x.shape).astype("f4") ** 2, shapes)
    path = tmp_path_factory.mktemp("weights") / "seven.safetensors"
    images = Preprocessing((127.5,) * 3, (127.5,) * 3, 36, 32, "bilinear")
    save_safetensors(path, variables, MODEL, preprocessing=images)
    return path


@pytest.mark.slow  # the other tests call what the command calls
def test_a_probe_from_the_command_line(weights, pictures, tmp_path, capsys, monkeypatch):
    """Protects features that are computed once, the test split, and the head in a file."""
    monkeypatch.chdir(tmp_path)
    data = (f"--config.data.source=folder:{pictures}", "--workdir", "probe")
    main([str(weights), *data])
    record = json.loads((tmp_path / "probe" / "probe.json").read_text())
    assert record["width"] == 256 and record["training_examples"] == 40
    assert record["chosen_on"] == "val" and record["methods"]["kNN"]["count"] == 11
    assert "test" not in record["methods"]["kNN"]
    monkeypatch.setattr(features_module.EvalBatches, "__getitem__", None)  # nothing is read again
    main([str(weights), *data])
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    main([str(weights), *data, "--test", "--out", "head.safetensors"])
    tested = json.loads((tmp_path / "probe" / "probe.json").read_text())["methods"]["linear probe"]
    assert tested["C"] == record["methods"]["linear probe"]["C"] and tested["test"]["count"] == 11
    assert "linear probe" in capsys.readouterr().out
    with pytest.raises(UserError, match="has results on the test split"):
        main([str(weights), *data])
    predictor = Predictor.from_weights("head.safetensors")
    assert predictor.class_names == ("daisy", "roses", "tulips")
    files = sorted((pictures / "test").rglob("*.png"))
    named = [predictor.class_names[index] for index in predictor(files).argmax(1)]
    right = sum(path.parent.name == name for path, name in zip(files, named, strict=True))
    assert right == tested["test"]["accuracy"] * 11
    assert load("head.safetensors").model.num_classes == 3


def test_what_cannot_be_probed(weights, pictures, tmp_path):
    """Protects users from a record in a run and from weights of unknown normalisation."""
    data = f"--config.data.source=folder:{pictures}"
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="is the folder of a run"):
        main([str(weights), data, "--workdir", str(tmp_path)])
    unknown = tmp_path / "unknown.safetensors"
    save_safetensors(unknown, load(weights).variables, MODEL)
    with pytest.raises(UserError, match=r"normalisation of images .* unknown"):
        main([str(unknown), data, "--workdir", str(tmp_path / "probe")])
