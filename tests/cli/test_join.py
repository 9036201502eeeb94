"""Joining a job: where the coordinator listens, and what is said while processes are missing."""

import argparse
import os
import socket
import subprocess
import sys
import threading

import jax
import pytest

from netzoo.cli import join
from netzoo.errors import UserError
from tests.training.runs import ROOT


@pytest.fixture
def listening():
    """A socket that listens at 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address(server: socket.socket) -> str:
    return "{}:{}".format(*server.getsockname())


def options(coordinator: str, processes: int = 3, process: int = 0) -> argparse.Namespace:
    flags = {"coordinator": coordinator, "processes": processes, "process": process}
    return argparse.Namespace(**flags, distributed=False)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def calls(monkeypatch):
    """Replaces `jax.distributed.initialize`; returns the list of the options it was called with."""
    made = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *a, **named: made.append(named))
    monkeypatch.setattr(join, "_explain_abort", lambda: None)
    return made


def test_the_coordinator_listens_at_the_given_address_only(calls, monkeypatch):
    """Protects a job from foreign processes: JAX's default is all addresses of the machine."""
    monkeypatch.delenv(join.BIND_VARIABLE, raising=False)
    given = f"127.0.0.1:{free_port()}"
    join.join(options(given))
    monkeypatch.setenv(join.BIND_VARIABLE, f"127.0.0.2:{free_port()}")
    join.join(options(given))
    found = [call["coordinator_bind_address"] for call in calls]
    assert found == [given, os.environ[join.BIND_VARIABLE]]


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("192.0.2.1:5000", "Cannot assign"),
        ("no.invalid:5000", "not known|failure in name"),
        ("", "in use"),
    ],
)
def test_an_address_that_cannot_be_used(place, reason, listening, calls, monkeypatch):
    """Protects users from a crash of JAX, and a job from another job that uses its port."""
    monkeypatch.setattr(join, "RESOLVE_SECONDS", 0)
    with pytest.raises(UserError, match=f"cannot listen at .*({reason}).*{join.BIND_VARIABLE}=0"):
        join.join(options(place or address(listening)))
    assert not calls


def test_one_usable_address_of_a_name_suffices(calls, monkeypatch):
    """Protects `localhost` in containers that have no IPv6 but give it an IPv6 address."""
    port = free_port()
    places = [socket.getaddrinfo(host, port)[0] for host in ("192.0.2.1", "127.0.0.1")]
    monkeypatch.setattr(join, "_resolve", lambda address: places)
    join.join(options(f"name:{port}"))
    assert len(calls) == 1


def test_missing_processes_are_counted(listening):
    """Protects users of many machines: process 0 says how many have joined."""
    with socket.create_connection(listening.getsockname()):
        said = join._waiting(address(listening), 3, 0)
    assert said == f"1 of 3 processes have joined at {address(listening)}"
    assert "process 0 answers at" in join._waiting(address(listening), 3, 1)
    nobody = f"127.0.0.1:{free_port()}"
    assert f"does not answer at {nobody} (Connection refused)" in join._waiting(nobody, 3, 1)
    assert join._waiting(None, None, None) == "the other processes of the job have not joined"


def test_waiting_ends(monkeypatch, capsys):
    """Protects a job from a partner that never comes: lines while it waits, then one error."""
    ended, at_exit = threading.Event(), []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *a, **named: ended.wait())
    monkeypatch.setattr(join.atexit, "register", lambda *call: at_exit.append(call))
    monkeypatch.setattr(join, "JOIN_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(join, "SAY_EVERY_SECONDS", 0)
    with pytest.raises(UserError, match=r"not all of 3 .* after 0\.3 s\. Start all processes"):
        join.join(options(f"127.0.0.1:{free_port()}"))
    ended.set()
    assert "not all of 3 processes have joined" in capsys.readouterr().err
    assert at_exit == [(os._exit, 1)]


ALONE = """
import argparse, sys
from netzoo.cli import join
from netzoo.errors import note
join.JOIN_TIMEOUT_SECONDS = 4
try:
    job = {"coordinator": sys.argv[1], "processes": 2, "process": 0, "distributed": False}
    join.join(argparse.Namespace(**job))
except ValueError as error:
    note(f"error: {error}")
    sys.exit(1)
"""


@pytest.mark.slow
def test_a_job_without_its_second_process():
    """Protects users from XLA's dump of its stack, and the job from other addresses."""
    port, command = free_port(), [sys.executable, "-c", ALONE]
    process = subprocess.Popen(
        [*command, f"127.0.0.1:{port}"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except ConnectionRefusedError:
            pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port))
    _, errors = process.communicate()
    assert process.returncode == 1
    [line] = errors.splitlines()
    assert line.startswith(f"error: 1 of 2 processes have joined at 127.0.0.1:{port} after 4 s.")
