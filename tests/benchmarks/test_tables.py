"""Tests of the tables of docs/performance.md."""

from pathlib import Path

import pytest

from benchmarks import tables

ROOT = Path(__file__).parents[2]


def line(model, peer, rate, ratio=1.0, memory=1.0):
    names = ("netzoo_ratio", "netzoo_ratio_low", "netzoo_ratio_high")
    spread = dict(zip(names, (ratio, ratio - 0.25, ratio + 0.5), strict=True))
    row = {"model": model, "image_size": 64, "batch_size": 8, "mode": "infer"}
    key = {**row, "dtype": "float32", "remat": 0, "contestant": peer, "peer": peer}
    return {**key, **spread, "images_per_second": rate, "netzoo_memory_ratio": memory, "mfu": 0.25}


def test_table_has_the_ratio_to_every_peer_and_geometric_means():
    lines = [line("alexnet", "netzoo", 10.0)]
    lines += [line("alexnet", "torch", 5.0, 2.0, 0.5), line("alexnet", "flax", 2.5, 4.0)]
    lines += [line("vgg11", "netzoo", 2.0)]
    lines += [line("vgg11", "torch", 4.0, 0.5, 2.0), line("vgg11", "flax", 2.0, 1.0)]
    head, rows = tables.table(lines)
    assert head == ["network", "netzoo", "torch", "ratio", "flax", "memory / torch", "MFU, %"]
    alexnet, vgg, mean = rows
    ranges = ["2.00 (1.75 to 2.50)", "4.00 (3.75 to 4.50)"]
    assert alexnet == ["alexnet", "10.0", "5.0", *ranges, "0.50", "25 / 25"]
    assert vgg[3] == "0.50 (0.25 to 1.00)"
    assert mean == ["geometric mean", "", "", "1.00", "2.00", "1.00", ""]


def test_folder_without_results_is_an_error(tmp_path, capsys):
    with pytest.raises(SystemExit):
        tables.main([str(tmp_path)])
    assert f"{tmp_path} has no throughput.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("results", "page"),
    [("throughput_epyc", "performance.md"), ("throughput_xeon", "notes/performance.md")],
)
def test_pages_show_the_committed_results(results, page, capsys):
    tables.main([str(ROOT / "results" / results)])
    text = (ROOT / "docs" / page).read_text()
    for table in capsys.readouterr().out.strip().split("\n\n"):
        assert table in text, table
