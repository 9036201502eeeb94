"""The layout of contact sheets."""

import numpy as np

from netzoo.cli.contact_sheet import contact_sheet
from netzoo.cli.main import main

# Pixels equal the example index, and classes are even and odd.
from tests.data.conftest import MemorySource, write_classes


def test_sorted_by_class_and_no_more_read_than_shown():
    """Each tile is in the row of its class, and the source is not read in full."""
    source = MemorySource(200)
    sheet = contact_sheet(source, 3, 1, tile_size=20)
    assert source.reads == 6
    assert sheet.dtype == np.uint8 and sheet.shape[0] == 2 * 22 + 2
    rows = [set(np.unique(sheet[row, -64:])) for row in (12, 34)]
    assert rows == [{0, 2, 4, 255}, {1, 3, 5, 255}]


def test_missing_examples_stay_blank():
    """A data set with few examples gives a sheet with blank tiles."""
    sheet = contact_sheet(MemorySource(1), 2, 2, tile_size=96)
    assert sheet.shape[0] == 2 * 2 * 98 + 2
    assert (sheet[200:] == 0).sum() == 0


def test_command(tmp_path, capsys):
    """The command writes an image, and rejects an empty grid and unknown formats."""
    folder = write_classes(tmp_path / "flowers")
    out = tmp_path / "sheets" / "sheet.png"
    assert main(["contact_sheet", f"folder:{folder}", "--columns", "4", "--out", str(out)]) == 0
    assert out.stat().st_size > 1000
    assert main(["contact_sheet", f"folder:{folder}", "--columns", "0", "--out", str(out)]) == 1
    assert "must be at least 1" in capsys.readouterr().err
    assert main(["contact_sheet", f"folder:{folder}", "--out", "sheet.xyz"]) == 1
    assert "sheet.xyz" in capsys.readouterr().err
