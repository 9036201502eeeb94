"""Content and size of classification figures."""

import base64

import numpy as np
import pytest

from netzoo import figures
from netzoo.figures import BLUE, DPI, RED
from netzoo.tasks.classification.figures import confusion_matrix, prediction_sheet
from tests.conftest import slow
from tests.pixels import count, load


@pytest.mark.parametrize("classes", [1, 2, 5, 20, 21, slow(100), slow(130)])
def test_confusion_matrix_is_drawn_for_any_number_of_classes(tmp_path, classes):
    """Protects the limits of numbers and names, and the size of the figure."""
    path = tmp_path / "confusion.png"
    confusion = np.eye(classes, dtype=int) * 7
    confusion_matrix(confusion, [f"class {i}" for i in range(classes)], path, "title")
    height, width, _ = load(path).shape
    least = 0.145 * classes * DPI if classes <= 120 else 3 * classes
    assert width >= max(least, 5 * DPI) and height >= least
    assert max(height, width) < 4000
    assert count(path, BLUE) > 100


@pytest.mark.parametrize("classes", [5, 21])
def test_confusion_matrix_keeps_its_labels_from_the_edge(tmp_path, classes):
    """Protects names, recalls and scales from being cut off: a margin of 5 pixels on each side."""
    path, names = tmp_path / "confusion.png", ["sunflowers", "roses"] * 11
    confusion_matrix(np.eye(classes, dtype=int) * 70, names[:classes], path, "title")
    drawn = load(path).min(axis=2) < 200
    for side in range(4):
        assert not np.rot90(drawn, side)[:5].any()


def test_confusion_matrix_is_drawn_through_no_link(tmp_path):
    """Protects a file elsewhere from a link in a stranger's run."""
    path = tmp_path / "confusion_matrix.png"
    (tmp_path / "mine").write_text("text")
    path.symlink_to(tmp_path / "mine")
    confusion_matrix(np.eye(2, dtype=int), ["a", "b"], path, "title")
    assert (tmp_path / "mine").read_text() == "text" and not path.is_symlink()


def test_confusion_matrix_shows_errors_in_another_colour(tmp_path):
    """Protects the meaning of colour: red only where something was mistaken."""
    path = tmp_path / "confusion.png"
    confusion_matrix(np.array([[3, 0], [0, 3]]), ["a", "b"], path, "all right")
    assert not count(path, RED)
    confusion_matrix(np.array([[3, 0], [3, 0]]), ["a", "b"], path, "all a")
    assert count(path, RED) > 100


def test_confusion_matrix_draws_a_class_without_examples(tmp_path):
    """Protects against a division by zero (warnings are errors here)."""
    with np.errstate(all="raise"):
        confusion_matrix(np.array([[3, 1], [0, 0]]), ["a", "b"], tmp_path / "c.png", "t")


def test_names_are_no_formulas(tmp_path):
    """Protects figures from names with two dollar signs."""
    path, names = tmp_path / "figure.png", ["$\\frac$", "a$b^$"]
    confusion_matrix(np.eye(2, dtype=int), names, path, "net on folder:$x^$")
    assert load(path).any()


@pytest.mark.parametrize(("number", "columns", "lines"), [(1, 1, 1), (3, 2, 2), (9, 3, 3)])
def test_prediction_sheet_has_a_cell_for_each_image(tmp_path, number, columns, lines):
    """Protects the grid with images of different shapes."""
    path = tmp_path / "sheet.png"
    images = [np.full((20 + 30 * i, 60, 3), 200, np.uint8) for i in range(number)]
    rows = [(f"{i}.jpg", [("tulips", 0.7), ("roses", 0.2)]) for i in range(number)]
    prediction_sheet(images, rows, path)
    height, width, _ = load(path).shape
    assert width == pytest.approx(columns * 4.6 * DPI, abs=1)
    assert height == pytest.approx(lines * 2.3 * DPI, abs=1)
    assert count(path, "#c8c8c8") > 1000 * number and count(path, BLUE) > 100 * number


def test_a_figure_as_an_address():
    """The same figure gives the same SVG, whose drawing depends on no date."""
    first, second = (figures.data_uri(figures.new_figure(2, 1, "title")) for _ in range(2))
    kind, _, data = first.partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(data).startswith(b"<?xml") and b"dc:date" not in base64.b64decode(data)
    assert len(first) == len(second)
