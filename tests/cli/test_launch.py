"""The set-up of the process of a command."""

import os
import platform
import runpy
import sys

import pytest

from netzoo.cli import launch
from tests.training.runs import ROOT


@pytest.fixture
def restarted(monkeypatch):
    """Return the commands with which the process would have been restarted."""
    commands = []
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.delenv(launch.HUGE_PAGES_SWITCH, raising=False)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(os, "execve", lambda path, argv, environ: commands.append(argv))
    return commands


@pytest.mark.parametrize(
    "started",
    [
        ["python", "train.py", "--workdir", "runs/v2"],
        ["python", "-m", "netzoo", "train", "--workdir", "runs/v2"],
        ["python", "/usr/bin/netzoo", "train", "--workdir", "runs/v2"],
    ],
)
def test_a_command_is_restarted_with_huge_pages(started, restarted, monkeypatch):
    """Protects the speed of the commands."""
    monkeypatch.setattr(sys, "orig_argv", started)
    launch._use_huge_pages(["--workdir", "runs/v2"])
    assert restarted == [started]


@pytest.mark.parametrize(
    "started",
    [
        ["python", "-m", "ipykernel_launcher", "-f", "kernel.json"],
        ["python", "my_program.py"],
        ["python", "my_program.py", "--workdir", "runs/other"],
    ],
)
def test_a_program_around_a_command_is_not_restarted(started, restarted, monkeypatch):
    """Protects a notebook with `%run train.py`, whose kernel would lose all its variables."""
    monkeypatch.setattr(sys, "orig_argv", started)
    launch._use_huge_pages(["--workdir", "runs/v2"])
    assert restarted == []


def test_a_script_runs_twice_in_one_process(monkeypatch, capsys):
    """Protects a notebook with `%run train.py` in two cells: nothing is defined a second time."""
    monkeypatch.setattr(sys, "argv", ["train.py", "--config", "nowhere.py", "--workdir", "x"])
    for _ in range(2):
        with pytest.raises(SystemExit) as status:
            runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
        assert status.value.code == 1
        assert capsys.readouterr().err.startswith("error: nowhere.py is neither a file nor")
