"""Notices of a metadata server on this machine, in place of that of Compute Engine."""

import http.server
import os
import signal
import threading
import urllib.parse

import jax
import pytest

from netzoo.training import preemption, train
from netzoo.training.signals import StopSignal
from tests.conftest import tiny_config
from tests.training.cheap_run import cheap_steps


class Server(http.server.ThreadingHTTPServer):
    """Holds requests for changes until `change` has set another value.

    Attributes:
      values: The value of each key.
      held: The keys of the requests for changes that it holds.
      failures: The number of requests for changes that get an error first.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.values = {"preempted": "FALSE", "maintenance-event": "NONE"}
        self.versions, self.changed = dict.fromkeys(self.values, 0), threading.Condition()
        self.failures, self.held = 0, set()

    def change(self, key, value):
        """Set a value once a request for its change has come."""
        with self.changed:
            assert self.changed.wait_for(lambda: key in self.held, timeout=60)
            self.held.remove(key)
            self.values[key], self.versions[key] = value, self.versions[key] + 1
            self.changed.notify_all()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, address = self.server, urllib.parse.urlsplit(self.path)
        key, query = address.path.rpartition("/")[2], urllib.parse.parse_qs(address.query)
        assert address.path.startswith("/computeMetadata/v1/instance/")
        assert self.headers["Metadata-Flavor"] == "Google"
        with server.changed:
            if query:
                assert query["wait_for_change"] == ["true"]
                if server.failures:
                    server.failures -= 1
                    self.send_error(503)
                    return
                server.held.add(key)
                server.changed.notify_all()
                server.changed.wait_for(
                    lambda: query["last_etag"] != [str(server.versions[key])], timeout=60
                )
            self.send_response(200)
            self.send_header("ETag", str(server.versions[key]))
            self.end_headers()
            self.wfile.write(server.values[key].encode())

    def log_message(self, *_):
        """Print nothing."""


@pytest.fixture
def server(monkeypatch):
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv(preemption.HOST_VARIABLE, f"127.0.0.1:{server.server_port}")
        monkeypatch.setattr(preemption, "RETRY_SECONDS", 0)
        yield server
        with server.changed:  # lets the threads of the test end
            server.versions = dict.fromkeys(server.versions, -1)
            server.changed.notify_all()
        server.shutdown()


class Said(list):
    """Lines, and whether one has come."""

    def __init__(self):
        super().__init__()
        self.came = threading.Event()

    def __call__(self, line):
        self.append(line)
        self.came.set()


@pytest.mark.parametrize(
    ("key", "harmless", "ending", "meaning"),
    [
        ("preempted", "FALSE", "TRUE", "Compute Engine preempts this machine"),
        (
            "maintenance-event",
            "MIGRATE_ON_HOST_MAINTENANCE",
            "TERMINATE_ON_HOST_MAINTENANCE",
            "Compute Engine will end this machine for host maintenance",
        ),
    ],
)
def test_a_notice_stops_like_a_signal(server, monkeypatch, key, harmless, ending, meaning):
    """Protects the checkpoint: the signal that follows a notice does not end the process."""
    ended, said, server.failures = [], Said(), 1
    monkeypatch.setattr(os, "_exit", ended.append)
    with StopSignal() as stop:
        stop.listen(said)
        server.change(key, harmless)
        assert stop.signal is None
        server.change(key, ending)
        assert said.came.wait(60)
        assert stop.signal == signal.SIGTERM and stop.agreed(logging=False)
        assert said == [f"{meaning}; stopping after this batch"]
        signal.raise_signal(signal.SIGTERM)
        assert ended == []
        signal.raise_signal(signal.SIGTERM)
        assert ended == [128 + signal.SIGTERM]


def test_an_old_notice_does_not_stop_a_new_run(server):
    """Protects a run that starts again on the same machine from stopping at once, for an hour."""
    server.values["preempted"] = "TRUE"
    said = []
    arguments = "preempted", said.append, threading.Event()
    watching = threading.Thread(target=preemption._watch, args=arguments, daemon=True)
    watching.start()
    server.change("preempted", "TRUE")  # the same value again
    server.change("preempted", "FALSE")
    assert said == []
    server.change("preempted", "TRUE")
    watching.join(60)
    assert said == ["Compute Engine preempts this machine"]


def test_other_machines_have_no_watch(monkeypatch, tmp_path):
    """Protects runs elsewhere from using the network, and from a server that does not answer."""
    monkeypatch.delenv(preemption.HOST_VARIABLE, raising=False)
    monkeypatch.setattr(preemption, "_PRODUCT", tmp_path / "product")
    before = threading.active_count()
    assert not preemption.on_compute_engine()
    (tmp_path / "product").write_text("Standard PC\n")
    assert not preemption.on_compute_engine()
    preemption.watch(print, threading.Event())
    assert threading.active_count() == before
    (tmp_path / "product").write_text("Google Compute Engine\n")
    assert preemption.on_compute_engine()
    monkeypatch.setenv(preemption.HOST_VARIABLE, "127.0.0.1:1")
    preemption._watch("preempted", pytest.fail, threading.Event())


def test_a_run_stops_after_a_notice(pictures, tmp_path, monkeypatch, capsys):
    """Protects the way from the notice to the checkpoint and the exit status."""
    monkeypatch.setattr(preemption, "watch", lambda notify, closed: notify("The end is near"))
    with cheap_steps():
        assert train(tiny_config(pictures), tmp_path) == 128 + signal.SIGTERM
    printed = capsys.readouterr().out
    assert "The end is near; stopping after this batch" in printed
    assert "stopped by SIGTERM after saving a checkpoint" in printed
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1"]


def test_a_signal_after_that_of_another_process_is_the_first(monkeypatch):
    """Protects the common checkpoint: all machines of a preempted job get a signal, one by one."""
    ended, said = [], []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr("netzoo.mesh.largest", lambda number: signal.SIGTERM)
    with StopSignal() as stop:
        stop.listen(said.append)
        assert stop.agreed(logging=True) and stop.signal == signal.SIGTERM
        signal.raise_signal(signal.SIGTERM)
        assert ended == [] and stop.signal == signal.SIGTERM
