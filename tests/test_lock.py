"""One process at a time: the others wait, and what a killed one left is noticed."""

import errno
import fcntl
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from netzoo import lock
from netzoo.lock import one_at_a_time
from tests.training.runs import ROOT

HOLDER = """
import pathlib, sys
from netzoo.lock import one_at_a_time
with one_at_a_time(pathlib.Path(sys.argv[1]), "preparing"):
    print("holds", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".1.0.0.lock"


@pytest.fixture
def said(monkeypatch):
    """The notices; `said.heard` is set with each."""
    lines = Notices()
    monkeypatch.setattr(lock, "note", lines.add)
    return lines


class Notices(list):
    def __init__(self):
        super().__init__()
        self.heard = threading.Event()

    def add(self, text):
        self.append(text)
        self.heard.set()


def test_two_at_once_come_one_after_the_other(path, said):
    """Protects a first use by two: the second waits with a line, then sees the first's result."""
    results = []

    def first():
        with one_at_a_time(path, "drawing") as killed:
            inside.set()
            assert said.heard.wait(timeout=10), "the second one says that it waits"
            results.append(("first", killed))

    def second():
        assert inside.wait(timeout=10)
        with one_at_a_time(path, "drawing") as killed:
            results.append(("second", killed))

    inside = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(first), pool.submit(second)]:
            done.result()
    assert results == [("first", False), ("second", False)]
    [line] = said
    assert line.startswith("drawing: waiting for process ")
    assert not path.exists()


def test_an_error_lets_the_next_one_in(path):
    """Protects the next attempt from a failed one."""
    with pytest.raises(ZeroDivisionError), one_at_a_time(path, "drawing"):
        raise ZeroDivisionError
    with one_at_a_time(path, "drawing") as killed:
        assert not killed


def test_a_killed_process_is_noticed_once(path):
    """Protects the disk: the next process learns that it has to clean up, and blocks nobody."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", HOLDER, str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
    assert process.stdout.readline() == "holds\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert f"process {process.pid}" in path.read_text()
    for expected in (True, False):
        with one_at_a_time(path, "preparing") as killed:
            assert killed == expected


def test_file_system_without_locks(path, monkeypatch, said):
    """Protects what another process is writing, which is never taken for remains."""

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    path.write_text("process 1 on elsewhere\n")
    with one_at_a_time(path, "drawing") as killed:
        assert not killed
    assert said == [
        f"{path} cannot be locked (No locks available): run only one process at a time when drawing"
    ]
