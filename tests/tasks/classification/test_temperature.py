"""The temperature of a run: suggested, fitted, stored, averaged over folds, and used."""

import json
import math

import jax
import numpy as np
import pytest
from scipy import special

from netzoo.config import load_config, save_config
from netzoo.data.source import SourceError
from netzoo.errors import UserError
from netzoo.tasks import create_task, resolve_config
from netzoo.tasks.classification import predictor as predictor_module
from netzoo.tasks.classification.predictor import Predictor
from netzoo.tasks.classification.temperature import (
    mean_temperature,
    save_temperature,
    stored_temperature,
    temperature_of,
)
from netzoo.training import evaluate_run as module
from netzoo.training.evaluate_run import evaluate_run
from tests.conftest import tiny_config, tiny_translation_config


@pytest.fixture
def workdir(pictures, tmp_path, monkeypatch):
    """A run with large random weights, which are too sure of themselves."""
    config = resolve_config(tiny_config(pictures), training=True)
    task, folder = create_task(config), tmp_path / "run"
    folder.mkdir()
    save_config(config, folder)
    task.save(folder)
    shapes, rng = jax.eval_shape(task.init, jax.random.key(0)), np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.random(x.shape, np.float32), shapes)
    for where in (module, predictor_module):
        monkeypatch.setattr(where, "restore_variables", lambda *args: (7, "ema", variables))
    return folder


def test_a_temperature_belongs_to_its_weights(tmp_path):
    """Other weights of the same run have no temperature."""
    assert stored_temperature(tmp_path, "last", 7) is None
    save_temperature(tmp_path, 1.5, "last", 7, ["val"])
    assert stored_temperature(tmp_path, "last", 7) == 1.5
    assert stored_temperature(tmp_path, "last", 8) is None
    assert stored_temperature(tmp_path, "best", 7) is None


def test_folds_give_their_geometric_mean(tmp_path):
    """Halving and doubling the logits cancel out."""
    for name, value in (("a", 0.5), ("b", 4.0)):
        (tmp_path / name).mkdir()
        save_temperature(tmp_path / name, value, "last", 7, ["val"])
    runs = [str(tmp_path / name) for name in "ab"]
    assert mean_temperature(runs) == pytest.approx(math.sqrt(2))
    with pytest.raises(UserError, match=r"has no temperature; fit it: netzoo eval .* fit"):
        mean_temperature([*runs, str(tmp_path)])


@pytest.mark.parametrize("text", ["{", '{"temperature": 0.0, "checkpoint": "last", "step": 7}'])
def test_a_damaged_file(text, tmp_path):
    """Protects predictions from a division by 0 and from a traceback."""
    (tmp_path / "temperature.json").write_text(text)
    with pytest.raises(UserError, match=r"temperature\.json is damaged"):
        stored_temperature(tmp_path, "last", 7)


def test_a_run_is_calibrated_on_its_validation_split(workdir, tmp_path, capsys):
    """The whole way: fit, report before and after on the test split, and predict."""
    fitted = evaluate_run(workdir, split="validation", temperature=["fit"])
    value = fitted["temperature_scaled"]["temperature"]
    stored = json.loads((workdir / "temperature.json").read_text())
    assert stored == {"temperature": value, "checkpoint": "last", "step": 7, "fitted_on": ["val"]}
    assert value > 1 and fitted["temperature_scaled"]["loss"] < fitted["calibration"]["loss"]
    report = evaluate_run(workdir)
    assert report["temperature_scaled"]["temperature"] == value
    assert report["accuracy"] == evaluate_run(workdir, "best", out=tmp_path / "x")["accuracy"]
    printed = capsys.readouterr().out
    assert f"with the temperature {value:.3f} of predictions)" in printed
    assert f"with the temperature {value:.3f} that val suggests; add --temperature fit" in printed
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    scaled, plain = (Predictor.from_run(workdir, which)(images) for which in ("last", "best"))
    certain = plain.min(-1) > 1e-30  # else a probability is rounded to 0
    expected = special.softmax(np.log(plain[certain]) / value, axis=-1)
    np.testing.assert_allclose(scaled[certain], expected, atol=1e-4)
    assert not np.allclose(scaled, plain, atol=1e-3)


def test_a_report_has_the_temperature_of_the_validation_split(tmp_path):
    """The run stores a temperature only on request, and then fits it on the whole split."""
    numbers, rng = [], np.random.default_rng(0)

    def validation(number):
        numbers.append(number)
        count = number or 3000
        rows = {"logits": 9 * rng.normal(size=(count, 3)), "mask": np.ones(count, bool)}
        return {**rows, "label": rng.integers(3, size=count)}

    def found(wanted, rows_of):
        return temperature_of(tmp_path, wanted, "last", 7, "val", rows_of)

    value, suggested_by = found((), validation)
    assert value > 1 and suggested_by == "val" and numbers == [1000]
    assert found((), None) is None and not (tmp_path / "temperature.json").exists()
    fitted = found(["fit"], validation)
    assert fitted.suggested_by is None and numbers == [1000, None]
    assert found((), validation) == fitted and numbers == [1000, None]


def test_a_report_without_a_temperature(tmp_path, capsys):
    """If the validation split is gone, the report lacks only the temperature."""

    def gone(number):
        raise SourceError("the folder val is gone")

    assert temperature_of(tmp_path, (), "last", 7, "val", gone) is None
    assert "no temperature from val: the folder val is gone" in capsys.readouterr().err
    with pytest.raises(SourceError, match="gone"):
        temperature_of(tmp_path, ["fit"], "last", 7, "val", gone)


def test_other_data_fit_no_temperature(workdir, tmp_path):
    """Protects the test split, and the run from a temperature of other data."""
    configs = [load_config(workdir) for _ in range(3)]
    configs[1].data.validation_split = configs[1].data.test_split
    configs[2].data.source = "folder:elsewhere"
    found = [module._has_validation(workdir, config) for config in configs]
    assert found == [True, False, False]
    for config, out in ((configs[1], None), (configs[2], None), (None, tmp_path / "out")):
        with pytest.raises(UserError, match="on the run's validation split: omit --out, --data"):
            evaluate_run(workdir, config=config, out=out, temperature=["fit"])
    assert not (workdir / "temperature.json").exists()


def test_translation_has_no_temperature():
    """The error names the flag."""
    task = create_task(tiny_translation_config())
    with pytest.raises(UserError, match="omit --temperature and --thresholds"):
        task.fitted(None, ["fit"], "last", 7, None)
