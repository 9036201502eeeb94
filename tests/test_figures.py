"""Tests that the pictures are written, have content, and have the size they should."""

import matplotlib.image
import numpy as np
import pytest

from netzoo import figures


def load(path):
    """Returns the picture as uint8 [height, width, 3]."""
    return (matplotlib.image.imread(path)[..., :3] * 255).round().astype(np.uint8)


def has_color(picture, color):
    """Whether a noticeable number of pixels has exactly this colour."""
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return (picture == rgb).all(axis=-1).sum() > 100


def train_line(step, **values):
    return {"kind": "train", "step": step, "epoch": step / 10, "learning_rate": 0.1, **values}


def eval_line(step, **values):
    return {"kind": "eval", "step": step, "epoch": step / 10, **values}


@pytest.mark.parametrize("classes", [1, 2, 5, 20, 21, 100, 130])
def test_confusion_matrix_is_drawn_for_any_number_of_classes(tmp_path, classes):
    """Protects both limits at which numbers and names are left out, and the picture's growth."""
    path = tmp_path / "confusion.png"
    confusion = np.eye(classes, dtype=int) * 7
    figures.confusion_matrix(confusion, [f"class {i}" for i in range(classes)], path, "title")
    height, width, _ = load(path).shape
    least = 0.145 * classes * figures.DPI if classes <= 120 else classes
    assert width >= max(least, 5 * figures.DPI) and height >= least
    assert max(height, width) < 4000
    assert has_color(load(path), figures.BLUE)


def test_confusion_matrix_shows_errors_in_another_colour(tmp_path):
    """Protects the meaning of colour: red only where something was mistaken."""
    path = tmp_path / "confusion.png"
    figures.confusion_matrix(np.array([[3, 0], [0, 3]]), ["a", "b"], path, "all right")
    assert not has_color(load(path), figures.RED)
    figures.confusion_matrix(np.array([[3, 0], [3, 0]]), ["a", "b"], path, "all a")
    assert has_color(load(path), figures.RED)


def test_confusion_matrix_draws_a_class_without_examples(tmp_path):
    """Protects against a division by zero (warnings are errors here)."""
    with np.errstate(all="raise"):
        figures.confusion_matrix(np.array([[3, 1], [0, 0]]), ["a", "b"], tmp_path / "c.png", "t")


def test_confusion_matrix_rejects_a_name_too_few(tmp_path):
    """Protects against labels shifted by one."""
    with pytest.raises(ValueError, match=r"\(1, 1\) for 1 class names, found \(2, 2\)"):
        figures.confusion_matrix(np.eye(2), ["a"], tmp_path / "c.png", "t")


def test_names_are_no_formulas(tmp_path):
    """Protects a run at its very end from a class or folder with two dollars in its name."""
    path, names = tmp_path / "figure.png", ["$\\frac$", "a$b^$"]
    figures.confusion_matrix(np.eye(2, dtype=int), names, path, "net on folder:$x^$")
    assert load(path).any()


def test_training_curves_draw_every_series(tmp_path):
    """Protects the names that the log and the picture share."""
    path = tmp_path / "curves.png"
    lines = [train_line(step, loss=1 / step) for step in range(1, 101)]
    lines += [
        eval_line(
            step,
            train_loss=0.4,
            test_loss=0.6,
            validation_loss=0.5,
            train_accuracy=0.9,
            test_accuracy=0.7,
            validation_accuracy=0.8,
        )
        for step in range(10, 101, 10)
    ]
    figures.training_curves(lines, path, "a run")
    picture = load(path)
    assert picture.shape == (4 * figures.DPI, 14 * figures.DPI, 3)
    for color in (figures.BLUE, figures.SKY, figures.TEAL, figures.MUTED, figures.INK):
        assert has_color(picture, color)


def test_training_curves_survive_sparse_logs(tmp_path):
    """Protects short, diverged and never evaluated runs: null losses, one line, no eval."""
    path = tmp_path / "curves.png"
    figures.training_curves([train_line(1, loss=None)], path, "diverged at once")
    figures.training_curves([train_line(1, loss=2.0), eval_line(1, test_loss=None)], path, "one")
    assert load(path).shape == (4 * figures.DPI, 14 * figures.DPI, 3)
    with pytest.raises(ValueError, match="kind 'train'"):
        figures.training_curves([eval_line(1, test_loss=1.0)], path, "no training")


def test_smoothing_keeps_the_ends_honest():
    """Protects the average at the borders: it must not be pulled towards zero."""
    assert figures._smooth(np.full(400, 3.0)) == pytest.approx(np.full(400, 3.0))
    assert figures._smooth(np.array([1.0, 5.0])) == pytest.approx([1.0, 5.0])


@pytest.mark.parametrize(("number", "columns", "lines"), [(1, 1, 1), (3, 2, 2), (9, 3, 3)])
def test_prediction_sheet_has_a_cell_for_each_picture(tmp_path, number, columns, lines):
    """Protects the grid, with pictures of unlike shapes."""
    path = tmp_path / "sheet.png"
    images = [np.full((20 + 30 * i, 60, 3), 200, np.uint8) for i in range(number)]
    rows = [(f"{i}.jpg", [("tulips", 0.7), ("roses", 0.2)]) for i in range(number)]
    figures.prediction_sheet(images, rows, path)
    height, width, _ = load(path).shape
    assert width == pytest.approx((columns * 4.6 + 0.1) * figures.DPI, abs=1)
    assert height == pytest.approx((lines * 2.35 + 0.25) * figures.DPI, abs=1)
    assert has_color(load(path), "#c8c8c8") and has_color(load(path), figures.BLUE)


def test_prediction_sheet_rejects_unlike_numbers(tmp_path):
    """Protects against captions under the wrong picture, and an empty sheet."""
    with pytest.raises(ValueError, match="0 images and 1 rows"):
        figures.prediction_sheet([], [("a.jpg", [("roses", 1.0)])], tmp_path / "sheet.png")
