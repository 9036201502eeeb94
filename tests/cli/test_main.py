"""The command `netzoo`: subcommands, and one-line errors."""

import importlib
import os
import resource
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from netzoo.cli.main import COMMANDS, main
from netzoo.errors import UserError, noting
from tests.training.runs import ROOT


def test_every_subcommand_is_there(capsys):
    """Protects the table: each module has a `main` whose help names the command."""
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    for name, (module, _) in COMMANDS.items():
        assert f"  {name} " in listed
        with pytest.raises(SystemExit) as status:
            importlib.import_module(module).main(["--help"])
        assert status.value.code == 0
        assert f"usage: netzoo {name}" in capsys.readouterr().out


def test_mistakes_are_one_line(tmp_path, capsys):
    """Protects users from tracebacks: an unknown command, and an error in one."""
    assert main(["recrod"]) == 1
    assert capsys.readouterr().err == "error: unknown command 'recrod'; did you mean record?\n"
    assert main(["record", str(tmp_path), "--out", str(tmp_path / "v2")]) == 1
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 112. GiB"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 120000000000 bytes."),
        RuntimeError("another"),
    ],
)
def test_a_full_memory_is_one_message(error, monkeypatch, capsys):
    """Protects users of large batches from a traceback; other errors keep theirs."""

    def broken(arguments):
        raise error

    monkeypatch.setitem(sys.modules, "netzoo.cli.keys", SimpleNamespace(main=broken))
    if str(error) == "another":
        with pytest.raises(RuntimeError):
            main(["keys"])
    else:
        assert main(["keys"]) == 1
        shown = capsys.readouterr().err
        assert shown.startswith(f"error: the memory is full: {error}\n")
        assert "batch_size" in shown


def test_errors_reach_the_terminal_escaped(monkeypatch, capsys):
    """Protects the terminal from names in errors; the lines of an error remain."""

    def broken(arguments):
        raise UserError("class \x1b]0;owned\x07 [red]\nhas no\u202egpj.exe")

    monkeypatch.setitem(sys.modules, "netzoo.cli.keys", SimpleNamespace(main=broken))
    assert main(["keys"]) == 1
    shown = "error: class \\x1b]0;owned\\x07 [red]\nhas no\\u202egpj.exe\n"
    assert capsys.readouterr().err == shown


def test_the_exit_status_is_the_subcommand_s(tmp_path):
    """Protects scripts that check their data: 1 if an image is corrupt, with --strict."""
    for name in ("roses", "tulips"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(b"")
    assert main(["check", f"folder:{tmp_path}", "--exact", "--strict"]) == 1


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [("keys",), ("train", "--help"), ("--help",)])
def test_a_closed_pipe_is_no_error(arguments, unbuffered, monkeypatch):
    """Protects `netzoo ... | head -1`, which ends without an error."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "netzoo", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [("keys",), ("train", "--help"), ("--help",)])
def test_output_that_is_cut_is_an_error(arguments, unbuffered, monkeypatch, tmp_path):
    """Protects from half an answer with status 0; argparse and unbuffered streams hide it.

    A limit of the file's size acts like a full disk: one short write, and then errors.
    """
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    command = [sys.executable, "-m", "netzoo", *arguments]
    with (tmp_path / "out").open("w") as file:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
        )
    assert (tmp_path / "out").stat().st_size == 100
    assert done.returncode == 1
    assert done.stderr == "error: [Errno 27] File too large\n"


def test_an_interruption_is_one_line(monkeypatch, capsys):
    """Protects users of Ctrl-C from a traceback."""

    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "netzoo.cli.keys", SimpleNamespace(main=interrupted))
    assert main(["keys"]) == 128 + signal.SIGINT
    assert capsys.readouterr().err == "interrupted\n"


def test_another_broken_pipe_is_an_error(monkeypatch, capfd):
    """Protects from hidden failures: only standard output may remain unread."""

    def broken(arguments):
        raise BrokenPipeError("of a child process")

    monkeypatch.setitem(sys.modules, "netzoo.cli.keys", SimpleNamespace(main=broken))
    assert main(["keys"]) == 1
    assert "of a child process" in capfd.readouterr().err


def test_the_notes_of_an_error_are_printed(monkeypatch, capsys):
    """Protects the notes of errors, such as the failed batch."""

    def broken(arguments):
        with noting("Mend that, and the same command continues."):
            raise UserError("a.jpg cannot be read")

    monkeypatch.setitem(sys.modules, "netzoo.cli.keys", SimpleNamespace(main=broken))
    assert main(["keys"]) == 1
    expected = "error: a.jpg cannot be read\nMend that, and the same command continues.\n"
    assert capsys.readouterr().err == expected
