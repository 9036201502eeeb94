"""The table of exported files, and the page that shows it."""

from pathlib import Path

import pytest

from benchmarks.export import CLASSES, COLUMNS, MODELS, measure, read, table
from netzoo.csv_files import write_csv

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "results" / "export" / "families.csv"


def test_the_page_shows_the_recorded_table():
    """Protects the page from figures that nobody measured."""
    rows = read(RECORDED)
    assert table(rows) in (ROOT / "docs" / "export.md").read_text()
    assert list(dict.fromkeys(row[0] for row in rows)) == [*MODELS]


def test_times_are_shown_where_they_were_measured(tmp_path):
    """A file without times has no empty columns."""
    rows = [("vgg11", 224, "jax.jit", 1_500_000, 0.0, 2.25)]
    rows.append(("vgg11", 224, "onnx", 2_000_000, 3e-7, 1.0))
    write_csv(tmp_path / "x.csv", COLUMNS, rows)
    assert table(read(tmp_path / "x.csv")).splitlines() == [
        "| network | pixels | jax.jit, MB | jax.jit, ms | onnx, MB | onnx, difference | onnx, ms |",
        "|---|--:|--:|--:|--:|--:|--:|",
        "| vgg11 | 224 | 1.5 | 2.2 | 2.0 | 3.0e-07 | 1.0 |",
    ]
    write_csv(tmp_path / "x.csv", COLUMNS, [(*row[:5], None) for row in rows])
    assert "ms" not in table(read(tmp_path / "x.csv"))


@pytest.mark.slow
def test_a_network_is_measured():
    """Without repeats, the time is missing; the file has the size of the weights."""
    network, *files = measure("mobilenet_v3_small_075", (), repeats=0)
    assert [row[0] for row in (network, *files)] == 3 * ["mobilenet_v3_small_075"]
    assert network[3] > 4 * 1024 * CLASSES
    for row in files:
        assert network[3] <= row[3] < 1.1 * network[3] and 0 < row[4] < 1e-4 and row[5] is None
