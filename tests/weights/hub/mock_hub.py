"""A small Hugging Face Hub on the loopback: one server for metadata, one for the files."""

import contextlib
import functools
import hashlib
import re
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

LARGE = (".safetensors", ".bin")  # the hub names these files by their SHA-256
_PATH = re.compile(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)")


class Repo(NamedTuple):
    """A repository of the hub; a fault changes its answers."""

    files: Mapping[str, bytes]
    fault: str = ""  # "cut", "private" or "gated"
    branches: Mapping[str, Mapping[str, bytes]] = {}  # other branches than main

    def at(self, revision: str) -> tuple[str, Mapping[str, bytes]] | None:
        """Return the commit and the files of a branch or a commit."""
        for name, files in {"main": self.files, **self.branches}.items():
            commit = commit_of(files)
            if revision in (name, commit):
                return commit, files
        return None


def commit_of(files: Mapping[str, bytes]) -> str:
    """Return the commit of some files, 40 hexadecimal digits."""
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


def etag(name: str, data: bytes) -> str:
    """Return the hash by which the hub names a file."""
    if name.endswith(LARGE):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub:
    """The two servers, and the requests that they have answered.

    Attributes:
      address: For HF_ENDPOINT.
      requests: `METHOD PATH` of each request, with the range of bytes.
    """

    def __init__(self, repositories: Mapping[str, Repo]) -> None:
        """Start to serve on two free ports."""
        self.repositories, self.requests = repositories, list[str]()
        self.servers = [
            ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, self))
            for handler in (_Metadata, _Files)
        ]
        self.address, self.files_address = (
            f"http://127.0.0.1:{server.server_port}" for server in self.servers
        )
        for server in self.servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop both servers."""
        for server in self.servers:
            server.shutdown()
            server.server_close()


@contextlib.contextmanager
def serving(repositories: Mapping[str, Repo]) -> Iterator[Hub]:
    """Serve repositories in a `with` block."""
    hub = Hub(repositories)
    try:
        yield hub
    finally:
        hub.close()


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, hub: Hub, *args) -> None:
        self.hub = hub
        super().__init__(*args)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *args) -> None:
        """Print nothing."""

    def answer(self, status: int, headers: Mapping[str, str], data: bytes = b"") -> None:
        """Send headers, and the bytes unless the request is a HEAD."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "")
        self.hub.requests.append(f"{self.command} {self.path} {asked}".rstrip())
        path = _PATH.fullmatch(self.path)
        repo = self.hub.repositories.get(path[1]) if path else None
        if path is None or repo is None:
            return self.answer(404, {"X-Error-Code": "RepoNotFound"})
        if repo.fault == "private":
            return self.answer(401, {"X-Error-Message": "Invalid username or password."})
        if repo.fault == "gated":
            return self.answer(403, {"X-Error-Code": "GatedRepo"})
        found = repo.at(path[2])
        if found is None:
            return self.answer(404, {"X-Error-Code": "RevisionNotFound"})
        commit, files = found
        if path[3] not in files:
            return self.answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        self.send_file(commit, path[3], files[path[3]], repo.fault)


class _Metadata(_Handler):
    def send_file(self, commit: str, name: str, data: bytes, fault: str) -> None:
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag(name, data)}"'}
        if not name.endswith(LARGE):
            return self.answer(200, headers, data)
        headers |= {"X-Linked-ETag": f'"{etag(name, data)}"', "X-Linked-Size": str(len(data))}
        self.answer(302, {**headers, "Location": self.hub.files_address + self.path})


class _Files(_Handler):
    def send_file(self, commit: str, name: str, data: bytes, fault: str) -> None:
        first, last = 0, len(data) - 1
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(found[1]), min(last, int(found[2] or last))
        part = data[first : last + 1]
        headers = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
        if fault == "cut" and not (found and found[2]):  # but the header arrives whole
            headers["Content-Length"] = str(len(part))
            part = part[: len(part) // 2]
            self.close_connection = True
        self.answer(206 if found else 200, headers, part)
