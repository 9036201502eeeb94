"""An emulated bucket of Google Cloud Storage on this machine, which can fail on request.

`gcp-storage-emulator` stores the objects. This module adds what it lacks: conditional writes
(`ifGenerationMatch`, and the generation of an object that is read), several connections at once,
and faults.
"""

import contextlib
import functools
import http.server
import io
import json
import logging
import os
import re
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from gcp_storage_emulator.handlers.buckets import create_bucket
from gcp_storage_emulator.server import RequestHandler, Router
from gcp_storage_emulator.storage import Storage

BUCKET = "bucket"
_NAME = re.compile(rb'"name": ?"([^"]+)"')


class Fault(NamedTuple):
    """What happens to requests that match a pattern."""

    pattern: str  # searched in "METHOD PATH?QUERY", unquoted, with the name of a new object
    count: int = 1  # of requests that fail
    after: int = 0  # of requests that succeed before
    status: int = 0  # of the answer; 0 answers as usual
    delay: float = 0.0  # seconds before the answer
    cut: bool = False  # close the connection without an answer
    stored: bool = False  # whether an object is stored before the connection is cut
    call: Callable[[], None] | None = None  # called before the answer


class _Storage(Storage):
    def _write_config_to_file(self) -> None:
        """Keep the list of objects in memory, because writing it takes longer than the rest."""


class Emulator(contextlib.AbstractContextManager):
    """A server at a free port of 127.0.0.1 with one bucket, `BUCKET`.

    Attributes:
      environment: Variables with which gcsfs, TensorStore and google-cloud-storage use the server.
      requests: "METHOD PATH?QUERY" of every request so far.
    """

    def __init__(self, folder: Path):
        """Start the server, which stores the objects in a folder."""
        logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
        self._storage = _Storage(data_dir=str(folder))
        create_bucket(BUCKET, self._storage)
        self._faults: list[list[Any]] = []
        self._serial = threading.Lock()  # the storage is not thread-safe
        self.requests: list[str] = []
        handler = functools.partial(_Handler, self)
        self._server = _Server(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{self._server.server_port}"
        self.environment = {
            "STORAGE_EMULATOR_HOST": address,
            "TENSORSTORE_GCS_HTTP_URL": address,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "a token",
            "GCE_METADATA_HOST": "127.0.0.1:1",  # nobody listens there
            "GOOGLE_CLOUD_PROJECT": "a-project",
            # Its requests about the kind of the bucket need credentials that the emulator lacks.
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of the objects that begin with a prefix, in order."""
        with self._serial:
            return sorted(n for n in self._storage.objects.get(BUCKET, {}) if n.startswith(prefix))

    def failed(self) -> int:
        """Return the number of requests that have failed since `failing` began."""
        return sum(min(max(0, seen - f.after), f.count) for f, seen in self._faults)

    def count(self, pattern: str) -> int:
        """Return the number of requests that match a pattern."""
        return sum(bool(re.search(pattern, request)) for request in self.requests)

    @contextlib.contextmanager
    def failing(self, *faults: Fault) -> Iterator[None]:
        """Let requests fail in the `with` block."""
        before, self._faults = self._faults, [[fault, 0] for fault in faults]
        try:
            yield
        finally:
            self._faults = before

    def _fault(self, request: str) -> Fault | None:
        for entry in self._faults:
            fault, seen = entry
            if re.search(fault.pattern, request):
                entry[1] += 1
                if fault.after <= seen < fault.after + fault.count:
                    return fault
        return None

    def _refused(self, query: Mapping[str, list[str]]) -> bool:
        """Return whether the condition of an upload does not hold."""
        if "ifGenerationMatch" not in query or "name" not in query:
            return False
        generation = self._object(query["name"][0]).get("generation", "0")
        return generation != query["ifGenerationMatch"][0]

    def _object(self, name: str) -> dict[str, str]:
        return self._storage.objects.get(BUCKET, {}).get(name, {})


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_arguments: object) -> None:
        """Ignore clients that end a connection, such as killed ones."""


class _Handler(RequestHandler):
    protocol_version = "HTTP/1.1"  # answers `Expect: 100-continue`, for which curl waits a second
    disable_nagle_algorithm = True  # it would delay every answer by 40 ms

    def __init__(self, emulator: Emulator, *arguments: Any):
        self._emulator = emulator
        super().__init__(emulator._storage, *arguments)

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = f"{method} {urllib.parse.unquote(self.path)}"
        if "uploadType=multipart" in request and (name := _NAME.search(body)):
            request += f"&name={name[1].decode()}"
        emulator = self._emulator
        emulator.requests.append(request)
        fault = emulator._fault(request)
        if fault:
            time.sleep(fault.delay)
            if fault.call:
                fault.call()
            if fault.cut:
                if fault.stored:
                    self._answer_to(method, body, io.BytesIO())
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if fault.status:
                self._fail(fault.status)
                return
        self._answer_to(method, body, self.wfile)

    def _answer_to(self, method: str, body: bytes, output: IO[bytes]) -> None:
        streams = self.rfile, self.wfile
        self.rfile, self.wfile = io.BytesIO(body), output
        with self._emulator._serial:
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            if self._emulator._refused(query):
                self._fail(412)
            else:
                Router(self).handle(method)
        self.rfile, self.wfile = streams

    def send_response(self, code: int, message: str | None = None) -> None:
        """Add the generation of an object that is read, which TensorStore needs for conditions."""
        super().send_response(code, message)
        match = re.search(f"/b/{BUCKET}/o/([^?]+)", urllib.parse.unquote(self.path))
        if match and (found := self._emulator._object(match[1])):
            self.send_header("x-goog-generation", found["generation"])

    def _fail(self, status: int) -> None:
        body = json.dumps({"error": {"code": status, "message": f"the emulator says {status}"}})
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def do_PATCH(self) -> None:
        self._answer("PATCH")


@contextlib.contextmanager
def emulated_bucket(folder: Path) -> Iterator[Emulator]:
    """Start an emulator, and let this process and its children use it in the `with` block."""
    with Emulator(folder) as emulator:
        before = {name: os.environ.get(name) for name in emulator.environment}
        os.environ.update(emulator.environment)
        try:
            yield emulator
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
