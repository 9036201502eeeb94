"""Damaged files of runs and records: one error, never a traceback."""

import json
import shutil

import pytest

from netzoo.cli.record import make_record, results_tables
from tests.cli import test_record
from tests.cli.test_record import OLD_RECORD, read
from tests.damaged_json import read_everything

workdir = test_record.workdir  # a fixture


@pytest.mark.parametrize("name", ["config.json", "eval.json", "environment.json", "metrics.jsonl"])
def test_any_damage_is_an_error(workdir, tmp_path, name):
    """Protects against tracebacks: each part of each file is replaced or removed in turn."""
    path, out, before = workdir / name, tmp_path / "out", b""

    def record():
        make_record(workdir, out)
        shutil.rmtree(out)

    if name == "metrics.jsonl":  # damage its last line
        *lines, value = map(json.loads, path.read_text().splitlines())
        before = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    else:
        value = read(path)
    assert read_everything(record, path, value, before) > 50


def test_any_damage_of_a_record_is_an_error(tmp_path):
    """Protects the table of records."""
    path = tmp_path / "a" / "record.json"
    path.parent.mkdir()
    read_everything(lambda: results_tables(tmp_path), path, OLD_RECORD)
