"""The recorded comparison of the preprocessing with torchvision and timm."""

import csv
from pathlib import Path

from netzoo.weights import CATALOGUE
from parity.pixels import TIMM, TORCHVISION, Row, table

ROOT = Path(__file__).parents[2]


def recorded():
    """Return the rows of the record."""
    with (ROOT / "results/preprocessing/pixels.csv").open() as file:
        for row in csv.DictReader(file):
            kinds = Row.__annotations__
            yield Row(**{name: kinds[name](value) for name, value in row.items()})


def test_the_pixels_are_those_of_the_references():
    """Every preset of the comparison was compared over 20 photographs, without a difference."""
    rows = list(recorded())
    assert [row.weights for row in rows] == [*TORCHVISION, *TIMM]
    for row in rows:
        images = CATALOGUE[row.weights].preprocessing
        assert (row.resize, row.crop, row.interpolation) == images[2:5]
        assert row.photographs == 20 and row.largest == row.mean == 0


def test_the_page_shows_the_record():
    """Protects the table of docs/weights.md."""
    text = table(list(recorded()))
    assert text in (ROOT / "docs/weights.md").read_text(), text
