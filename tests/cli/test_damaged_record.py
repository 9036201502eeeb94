"""Damaged files of runs and records: one error, never a traceback."""

import errno
import json
import os
import shutil

import pytest

from netzoo.cli import record
from netzoo.cli.record import make_record, results_tables
from netzoo.errors import UserError
from tests.cli import test_record
from tests.cli.test_record import OLD_RECORD, read
from tests.damaged_json import read_everything

workdir = test_record.workdir  # a fixture


@pytest.mark.parametrize("name", ["config.json", "eval.json", "environment.json", "metrics.jsonl"])
def test_any_damage_is_an_error(workdir, tmp_path, name):
    """Protects against tracebacks: each part of each file is replaced or removed in turn."""
    path, out, before = workdir / name, tmp_path / "out", b""

    def make():
        make_record(workdir, out)
        shutil.rmtree(out)

    if name == "metrics.jsonl":  # damage its last line
        *lines, value = map(json.loads, path.read_text().splitlines())
        before = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    else:
        value = read(path)
    assert read_everything(make, path, value, before) > 50


def test_a_full_disk_leaves_no_half_record(workdir, tmp_path, monkeypatch):
    """Protects the second attempt: a failed one must not leave half of a folder."""

    def full(path, text):
        raise OSError(errno.ENOSPC, "the disk is full", str(path))

    with monkeypatch.context() as patch, pytest.raises(OSError, match="the disk is full"):
        patch.setattr(record, "write_text", full)
        make_record(workdir, tmp_path / "out")
    make_record(workdir, tmp_path / "out")


@pytest.mark.parametrize("name", ["config.json", "eval.json", "environment.json", "metrics.jsonl"])
@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_nothing_is_waited_for(workdir, tmp_path, name, kind):
    """Protects from a FIFO without a writer, or an endless device, in a stranger's run."""
    (workdir / name).unlink()
    if kind == "fifo":
        os.mkfifo(workdir / name)
    else:
        (workdir / name).symlink_to("/dev/zero")
    with pytest.raises((UserError, OSError), match=f"has no {name}|expected a file.*{name}"):
        make_record(workdir, tmp_path / "out")


def test_a_link_is_not_copied(workdir, tmp_path):
    """Protects private files: a record is published, and its run may come from a stranger."""
    (tmp_path / "private").write_text("secret")
    (workdir / "picture.png").symlink_to(tmp_path / "private")
    make_record(workdir, tmp_path / "out")
    assert not (tmp_path / "out" / "picture.png").exists()


def test_any_damage_of_a_record_is_an_error(tmp_path):
    """Protects the table of records."""
    path = tmp_path / "a" / "record.json"
    path.parent.mkdir()
    read_everything(lambda: results_tables(tmp_path), path, OLD_RECORD)
