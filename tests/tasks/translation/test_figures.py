"""Content and size of attention figures."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from netzoo.figures import DPI, INK
from netzoo.tasks.translation.figures import MOST_PIECES, attention_figure
from tests.conftest import slow
from tests.pixels import count, load


def example(source, target, weight=None):
    """A sentence whose pieces attend to one piece each, or to all pieces equally."""
    weights = np.eye(target, source) if weight is None else np.full((target, source), weight)
    return [f"▁s{i}" for i in range(source)], [f"t{i}" for i in range(target)], weights


TWELVE = [(5 + i, 25 - i) for i in range(12)]


@pytest.mark.parametrize("lengths", [[(5, 6)], [(1, 1)], slow(TWELVE)])
def test_figures_are_drawn_for_one_to_twelve_sentences(tmp_path, lengths):
    """Protects sheets of mixed lengths: cells are legible and the sheet has a limited size."""
    path = tmp_path / "attention.png"
    attention_figure([example(*pair) for pair in lengths], path, "title")
    height, width, _ = load(path).shape
    cell = 0.145 * DPI
    assert width >= max(cell * max(s for s, _ in lengths), 5 * DPI)
    assert height >= cell * max(t for _, t in lengths)
    assert max(height, width) < 5000
    assert count(path, INK) > 100


def test_colour_is_the_weight(tmp_path):
    """Protects the fixed scale: a map of small weights has no dark cells."""
    path = tmp_path / "attention.png"
    attention_figure([example(6, 6, weight=1.0)], path, "title")
    full = count(path, INK)
    attention_figure([example(6, 6, weight=0.1)], path, "title")
    assert full - count(path, INK) > 0.8 * 36 * (0.27 * DPI - 2) ** 2


def test_source_is_across_and_translation_down(tmp_path):
    """Protects the meaning of the axes: 20 source pieces and 3 of the translation are wide."""
    path = tmp_path / "attention.png"
    attention_figure([example(20, 3)], path, "title")
    height, width, _ = load(path).shape
    attention_figure([example(3, 20)], path, "title")
    assert load(path).shape[0] > height
    assert load(path).shape[1] < width


def test_pieces_are_text_only(tmp_path):
    """Protects pieces and titles with dollar signs: these formulas would be errors."""
    pieces = ["▁$x^$", "a$\\frac$", "·", "</s>", "ein sehr langes Stück Text"]
    attention_figure([(pieces, pieces, np.eye(5))], tmp_path / "a.png", "costs $\\frac$")


@pytest.mark.slow
def test_the_longest_sentences_can_be_drawn(tmp_path, monkeypatch):
    """Protects the limit: matplotlib draws up to 2 ** 16 pixels, and twelve long sentences fit.

    Drawing them takes 8 s, so the test checks only the size of the sheet.
    """
    most, sizes = MOST_PIECES, []
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *_, **__: sizes.append(figure.get_size_inches() * DPI)
    )
    attention_figure([example(most, most)] * 12, tmp_path / "a.png", "title")
    assert sizes[0].max() < 2**16
