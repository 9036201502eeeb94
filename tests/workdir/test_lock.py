"""The lock of a run folder: holder, messages and release."""

import errno
import fcntl
import re
import signal
import subprocess
import sys

import pytest

from netzoo.workdir import LOCK_FILE
from netzoo.workdir.lock import lock_run, locked_error
from tests.training.runs import ROOT

HOLDER = """
import pathlib, sys
from netzoo.workdir.lock import lock_run
lock = lock_run(pathlib.Path(sys.argv[1]))
print(lock is not None, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process, which holds the lock of `tmp_path`."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
    assert process.stdout.readline() == "True\n"
    yield process
    process.kill()
    process.communicate()


def test_second_process_is_told_who_holds_it(holder, tmp_path):
    """Protects a run from another that writes into the same folder; the user learns which."""
    assert lock_run(tmp_path) is None
    assert re.search(rf"process {holder.pid} on \S+ trains there", str(locked_error(tmp_path)))


def test_killed_process_holds_nothing(holder, tmp_path):
    """Protects resuming after SIGKILL: the file names a dead process and does not block."""
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert f"process {holder.pid}" in (tmp_path / LOCK_FILE).read_text()
    for _ in range(2):  # closing unlocks as well
        with lock_run(tmp_path):
            assert f"process {holder.pid}" not in (tmp_path / LOCK_FILE).read_text()


def test_file_system_without_locks_is_said_and_no_obstacle(tmp_path, monkeypatch, capsys):
    """Protects training on file systems without locks."""

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    lock_run(tmp_path).close()
    assert "cannot be locked (No locks available)" in capsys.readouterr().err
