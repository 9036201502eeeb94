"""Training curves are drawn for every log, with all of its series."""

import numpy as np
import pytest

from netzoo.figures import BLUE, DPI, INK, MUTED, TEAL
from netzoo.tasks import curves
from netzoo.tasks.curves import training_curves
from tests.pixels import count, load


def train_line(step, **values):
    return {"kind": "train", "step": step, "epoch": step / 10, "learning_rate": 0.1, **values}


def eval_line(step, **values):
    return {"kind": "eval", "step": step, "epoch": step / 10, **values}


def test_training_curves_draw_every_series(tmp_path):
    """Protects the names that the log and the figure share."""
    path = tmp_path / "curves.png"
    lines = [train_line(step, loss=1 / step) for step in range(1, 101)]
    lines += [
        eval_line(
            step,
            train_loss=0.4,
            validation_loss=0.5,
            train_accuracy=0.9,
            validation_accuracy=0.8,
        )
        for step in range(10, 101, 10)
    ]
    training_curves(lines, path, "a run")
    assert load(path).shape == (4 * DPI, 14 * DPI, 3)
    for color in (BLUE, TEAL, MUTED, INK):
        assert count(path, color) > 100


def test_training_curves_survive_sparse_logs(tmp_path):
    """Protects short, diverged and never evaluated runs: null losses, one line, no eval."""
    path = tmp_path / "curves.png"
    training_curves([train_line(1, loss=None)], path, "diverged at once")
    training_curves([train_line(1, loss=2.0), eval_line(1, validation_loss=None)], path, "one")
    assert load(path).shape == (4 * DPI, 14 * DPI, 3)
    path.unlink()
    training_curves([eval_line(1, validation_loss=1.0)], path, "no training")
    assert not path.exists()


def test_smoothing_keeps_the_ends_honest():
    """Protects the average at the borders: it must not be pulled towards zero."""
    assert curves._smooth(np.full(400, 3.0)) == pytest.approx(np.full(400, 3.0))
    assert curves._smooth(np.array([1.0, 5.0])) == pytest.approx([1.0, 5.0])
