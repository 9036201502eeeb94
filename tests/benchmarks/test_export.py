"""The tables of exported files, and the page that shows them."""

from pathlib import Path

import pytest

from benchmarks import export
from benchmarks.export import CLASSES, FORMATS, MODELS, Row, Rows, measure, read, tables
from netzoo.export.benchmark import KINDS, NETWORK, Measured

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "results" / "export" / "families.csv"


def test_the_page_shows_the_recorded_tables():
    """Protects the page from figures that nobody measured."""
    rows = read(RECORDED)
    text = (ROOT / "docs" / "export.md").read_text()
    assert [table for table in tables(rows) if table not in text] == []
    assert list(dict.fromkeys(row.model for row in rows)) == [*MODELS]
    assert {row.format for row in rows} <= {*FORMATS}


def test_what_was_not_measured_has_no_number(tmp_path):
    """A number, a dash for a missing one, and the words for missing packages."""
    rows = Rows(tmp_path / "x.csv")
    rows.put(Row("vgg11", 224, "onnx", 2_000_000, 3e-7, None))
    rows.put(Row("vgg11", 224, NETWORK, 1_500_000, 0.0, 2.25))
    rows.put(Row("vgg11", 224, "litert int8", None, None, None, "not installed"))
    found = [table.splitlines()[-1] for table in tables(read(tmp_path / "x.csv"))]
    assert found == [
        "| vgg11 | 1.5 | 2.0 | not installed |",
        "| vgg11 | 3.0e-07 | not installed |",
        "| vgg11 | 2.2 | - | not installed |",
    ]


@pytest.fixture
def fakes(monkeypatch):
    """Measurements that take no time, and the list of the files that were written."""
    written = []

    def measured_file(predictor, model, kind, folder, images, calibration):
        KINDS[kind].path(folder).write_bytes(b"file")
        written.append(kind)
        return Measured(kind, 4, 1e-6, None)

    def latencies(predictor, kinds, folder, images, repeats):
        return {name: float(repeats) for name in (NETWORK, *kinds)} if repeats else {}

    monkeypatch.setattr(export, "random_network", lambda name: None)
    monkeypatch.setattr(export, "measured_network", lambda _: Measured(NETWORK, 3, 0.0, None))
    monkeypatch.setattr(export, "measured_file", measured_file)
    monkeypatch.setattr(export, "latencies", latencies)
    monkeypatch.setattr(export, "images_of", lambda *_: 2 * (export.Images(_Pixels, [], ""),))
    return written


class _Pixels:
    shape = (16, 32, 32, 3)


def test_an_interrupted_measurement_continues(tmp_path, monkeypatch, fakes):
    """Rows and files that exist are kept; packages that were missing are used later."""
    folder = tmp_path / "files"
    monkeypatch.setattr(export, "installed_kinds", lambda: ["onnx"])
    measure("vgg11", Rows(tmp_path / "x.csv"), (), folder, 0)
    first = read(tmp_path / "x.csv")
    assert [row.note for row in first if row.bytes is None] == 4 * ["not installed"]
    monkeypatch.setattr(export, "installed_kinds", lambda: ["onnx", "litert int8"])
    measure("vgg11", Rows(tmp_path / "x.csv"), (), folder, 0)
    assert fakes == ["onnx", "litert int8"]
    measure("vgg11", Rows(tmp_path / "x.csv"), (), folder, 7)
    times = {row.format: row.milliseconds for row in read(tmp_path / "x.csv")}
    assert {name for name, time in times.items() if time == 7} == {NETWORK, "onnx", "litert int8"}
    assert fakes == ["onnx", "litert int8"]
    measure("vgg11", Rows(tmp_path / "x.csv"), (), tmp_path / "elsewhere", 8)
    assert fakes == 2 * ["onnx", "litert int8"]


@pytest.mark.slow
def test_a_network_is_measured(tmp_path, monkeypatch):
    """Without repeats, the time is missing; the file has the size of the weights."""
    monkeypatch.setattr(export, "installed_kinds", lambda: ["stablehlo", "onnx"])
    measure("mobilenet_v3_small_075", Rows(tmp_path / "x.csv"), (), tmp_path, 0)
    network, *files = [row for row in read(tmp_path / "x.csv") if row.bytes]
    assert network.bytes > 4 * 1024 * CLASSES and len(files) == 2
    for row in files:
        assert network.bytes <= row.bytes < 1.1 * network.bytes
        assert 0 < row.difference < 1e-4 and row.milliseconds is None
