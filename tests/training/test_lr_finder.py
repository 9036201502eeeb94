"""The search for a learning rate."""

import csv

import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.training import lr_finder
from netzoo.training.lr_finder import SMOOTHING, Search, ramp, search
from netzoo.training.step import TrainProgram
from tests.conftest import tiny_translation_config
from tests.training.runs import run


def found(losses):
    """A search over rates from 1e-5 to 10 whose smoothed losses are given."""
    losses = np.asarray(losses, float)
    return Search(np.geomspace(1e-5, 10, len(losses)), losses, losses, True)


def test_ramp_is_exponential():
    """Protects the rates: equal factors from the first step to the last."""
    rate = ramp(1e-6, 10.0, 200)
    rates = [float(rate(step)) for step in range(200)]
    np.testing.assert_allclose(rates, np.geomspace(1e-6, 10, 200), rtol=1e-4)


def test_suggestions_on_a_curve():
    """Protects both rules: the steepest point of a logistic curve, and a tenth of its minimum."""
    log_rates = np.linspace(-5, 1, 121)
    curve = 1 / (1 + np.exp(5 * (log_rates + 2))) + np.exp(8 * (log_rates - 0.5))
    result = found(curve)
    assert result.steepest == pytest.approx(1e-2, rel=0.1)
    lowest = 10 ** log_rates[curve.argmin()]
    assert result.tenth_of_minimum == pytest.approx(lowest / 10)
    # A fall after the minimum, which is steeper, belongs to the divergence.
    curve[-2] = 9
    assert found(curve).steepest == result.steepest


@pytest.fixture
def losses(monkeypatch):
    """Let the steps of searches report these losses, and nothing else."""
    values: list[float] = []

    def build(config, task, mesh, pretrained, learning_rate):
        def step(state, batch):
            metrics = {"loss": values[state], "grad_norm": 1.0, "update_norm": 1.0}
            metrics = {name: jnp.float32(value) for name, value in metrics.items()}
            return state + 1, {**metrics, "learning_rate": learning_rate(state)}

        return TrainProgram(lambda _: 0, None, step, "")

    monkeypatch.setattr(lr_finder, "build_train_program", build)
    return values


def test_search_smooths_and_stops_when_the_loss_diverges(losses):
    """Protects the average, without bias, and the end of the search, by their definitions."""
    losses += [*np.linspace(3, 1, 60), *np.linspace(1, 400, 40)]
    result = search(tiny_translation_config(), 1e-5, 1.0, 100)
    smoothed = []
    for step in range(1, 101):
        weights = SMOOTHING ** np.arange(step)[::-1]
        smoothed.append(np.average(losses[:step], weights=weights))
        if smoothed[-1] > 4 * min(smoothed):
            break
    assert 60 < step < 100
    np.testing.assert_allclose(result.smoothed, smoothed, rtol=1e-5)
    np.testing.assert_allclose(result.losses, losses[:step], rtol=1e-6)
    np.testing.assert_allclose(result.rates, np.geomspace(1e-5, 1, 100)[:step], rtol=1e-4)
    assert result.diverged


def test_search_stops_at_a_loss_that_is_not_finite(losses):
    """Protects the curve from NaN; without divergence, all steps count."""
    losses += [*np.linspace(3, 1, 40), np.nan, 1.0]
    result = search(tiny_translation_config(), 1e-5, 1.0, 42)
    assert (len(result.losses), result.diverged) == (40, True)
    losses[40] = 1.0
    result = search(tiny_translation_config(), 1e-5, 1.0, 42)
    assert (len(result.losses), result.diverged) == (42, False)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([3.0] * 5 + [np.inf] * 50, "diverges after 5 steps, at the learning rate 2.35e-05"),
        (np.linspace(3, 6, 55), "lowest within the first 20 steps"),
    ],
)
def test_no_suggestion_is_an_error(losses, values, message):
    """Protects from a number that means nothing."""
    losses += [*values]
    with pytest.raises(UserError, match=message):
        search(tiny_translation_config(), 1e-5, 1.0, 55)


@pytest.mark.slow
def test_command_writes_curve_and_picture(tmp_path):
    """Protects the command as documented: rates, losses, figure, and no run."""
    file, out = tmp_path / "tiny.py", tmp_path / "lr.csv"
    file.write_text("from tests.conftest import tiny_translation_config as get_config\n")
    command = ("-m", "netzoo", "lr-find", "--config", file, "--out", out)
    done = run(*command, "--low", "1e-4", "--high", "1e3", "--steps", 100)
    assert done.returncode == 0, done.stderr
    rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(out.open())]
    rates = np.geomspace(1e-4, 1e3, 100)[: len(rows)]
    np.testing.assert_allclose([row["learning_rate"] for row in rows], rates, rtol=1e-3)
    losses = [row["smoothed_loss"] for row in rows]
    assert min(losses) < 0.9 * losses[0], "the optimizer uses the rates"
    assert "steepest descent of the loss: " in done.stdout
    assert out.with_suffix(".png").stat().st_size > 10_000
    assert {path.name for path in tmp_path.iterdir()} >= {"tiny.py", "lr.csv", "lr.png"}
    wrong = run(*command, "--low", "2", "--high", "1")
    assert wrong.stderr == "error: --low 2 --high 1; expected 0 < low < high\n"
