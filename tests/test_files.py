"""Files are written completely or not at all, and never through a link."""

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from netzoo.errors import UserError
from netzoo.files import (
    appending,
    is_stream,
    make_folder,
    new_folder,
    renaming,
    replacing,
    write_bytes,
    write_text,
)


def test_a_new_file_replaces_the_old_one(tmp_path):
    """Protects what is written, and that no other file stays."""
    write_text(tmp_path / "a.txt", "häßlich\n")
    write_text(tmp_path / "a.txt", "schön\n")
    with replacing(tmp_path / "b.txt", "w") as file:
        file.write("1\n2\n")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "schön\n"
    assert (tmp_path / "b.txt").read_bytes() == b"1\n2\n"
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.txt"]


def test_nobody_sees_half_a_file(tmp_path):
    """Protects the old file until the new one is complete, and from an error on the way."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"ne")
        file.flush()
        assert path.read_bytes() == b"old"
        file.write(b"w")
    assert path.read_bytes() == b"new"
    with pytest.raises(KeyError), replacing(path) as file:
        file.write(b"half")
        raise KeyError
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_a_full_disk_names_the_final_file(tmp_path):
    """Protects the message: it names the file the user knows, not the temporary one."""
    with pytest.raises(OSError, match=r"the disk is full.*/a'"), replacing(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match=r"the disk is full.*/a'"), renaming(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_links_are_replaced_and_not_followed(tmp_path):
    """Protects files outside the folder of a run from links that a stranger left in it."""
    victim, link = tmp_path / "victim", tmp_path / "eval.json"
    victim.write_text("mine")
    link.symlink_to(victim)
    write_bytes(link, b"{}")
    assert victim.read_text() == "mine"
    assert link.read_bytes() == b"{}"
    assert not link.is_symlink()
    link.unlink()
    os.link(victim, link)  # a second name of the same file
    write_bytes(link, b"{}")
    assert victim.read_text() == "mine"


def test_permissions_are_those_of_the_umask(tmp_path):
    """Protects groups that share a folder, and private data."""
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"")
        appending(tmp_path / "b").close()
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"] == [0o640, 0o640]


def test_typed_names_may_be_streams(tmp_path):
    """Protects `--output /dev/stdout` and FIFOs, which must not be replaced by a file."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    found = []
    reader = threading.Thread(target=lambda: found.append(fifo.read_bytes()))
    reader.start()
    with replacing(fifo, "w", typed=True) as file:
        file.write("text")
    reader.join()
    assert found == [b"text"]
    with replacing("/dev/null", typed=True) as file:
        file.write(b"text")
    assert not stat.S_ISREG(os.stat("/dev/null").st_mode)
    assert is_stream(Path("/dev/stdout")) and not is_stream(Path("/dev/shm/run/eval.json"))
    write_bytes(fifo, b"")  # not typed: replaced without waiting for a reader
    assert fifo.is_file()


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "device"])
def test_appending_refuses_what_is_not_a_file(kind, tmp_path):
    """Protects the log, the lock and a partial download from leading elsewhere, or waiting."""
    path, victim = tmp_path / "lock", tmp_path / "victim"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/null" if kind == "device" else victim)
    if kind == "link":
        victim.write_text("mine")
    with pytest.raises(UserError, match="lock must be a regular file"):
        appending(path)
    assert victim.exists() == (kind == "link")


def test_folders_that_are_links_are_refused(tmp_path):
    """Protects folders elsewhere from what a run writes into its own."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "best").symlink_to(tmp_path)
    with pytest.raises(UserError, match="best is a link to"):
        make_folder(tmp_path / "run" / "best")
    assert make_folder(make_folder(tmp_path / "new")).is_dir()


def test_a_folder_is_complete_or_absent(tmp_path):
    """Protects records: a folder gets its name only when all of its files exist."""
    with pytest.raises(KeyError), new_folder(tmp_path / "a" / "b") as folder:
        (folder / "half").touch()
        raise KeyError
    assert os.listdir(tmp_path / "a") == []
    with new_folder(tmp_path / "a" / "b") as folder:
        (folder / "whole").touch()
    assert os.listdir(tmp_path / "a" / "b") == ["whole"]
