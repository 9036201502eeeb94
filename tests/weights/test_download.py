"""Downloads from a local server: resuming, checksums and network errors."""

import hashlib
import http.server
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from netzoo import lock
from netzoo.cache import cache_folder
from netzoo.errors import UserError
from netzoo.weights import CATALOGUE, load_weights
from netzoo.weights.download import download

CONTENT = bytes(range(256)) * 3000
CUT = 300_000  # bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; `cut` ends the connection early, `ranges` are the requests' headers."""

    cut = False
    understands_ranges = True
    ranges: list = []  # noqa: RUF012

    def do_GET(self):
        wanted = self.headers["Range"]
        self.ranges.append(wanted)
        start = 0
        if wanted and self.understands_ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : start + CUT] if self.cut else CONTENT[start:])

    def log_message(self, *args):
        """Print nothing."""


@pytest.fixture
def server():
    """A server on a free port; returns its handler class and the address of the file."""
    handler = type("FreshHandler", (Handler,), {"ranges": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield handler, f"http://127.0.0.1:{running.server_address[1]}/models/net-1234.pth"
        running.shutdown()
        thread.join()


def weights(address, sha256=SHA256):
    return CATALOGUE["resnet50.tv_in1k"]._replace(address=address, sha256=sha256)


@pytest.mark.parametrize("sha256", [SHA256, SHA256[:8]])
def test_once(server, tmp_path, sha256):
    """The file is downloaded only once."""
    handler, address = server
    for _ in range(2):
        path = download(weights(address, sha256), tmp_path / "weights")
        assert path == tmp_path / "weights" / "net-1234.pth"
        assert path.read_bytes() == CONTENT
    assert len(handler.ranges) == 1
    assert [file.name for file in path.parent.iterdir()] == ["net-1234.pth"]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_permissions_follow_the_umask(server, tmp_path, umask):
    """The file has the permissions of the umask."""
    before = os.umask(umask)
    try:
        path = download(weights(server[1]), tmp_path / "weights")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    assert path.parent.stat().st_mode & 0o777 == 0o777 & ~umask


def test_resumes(server, tmp_path):
    """An interrupted download resumes; the file gets its name when complete."""
    handler, address = server
    handler.cut = True
    with pytest.raises(UserError, match=r"300,000 of 768,000 bytes\n300,000 bytes are kept"):
        download(weights(address), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["net-1234.pth.partial"]
    handler.cut = False
    assert download(weights(address), tmp_path).read_bytes() == CONTENT
    assert handler.ranges == [None, "bytes=300000-"]


def test_two_at_once(server, tmp_path, monkeypatch):
    """Protects the first use by two processes: one downloads, and the other waits."""
    handler, address = server
    waiting, send = threading.Event(), handler.do_GET

    def do_get(self):
        assert waiting.wait(timeout=10), "the second one says that it waits"
        send(self)

    monkeypatch.setattr(handler, "do_GET", do_get)
    monkeypatch.setattr(lock, "note", lambda text: waiting.set())
    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(download, weights(address), tmp_path) for _ in range(2)]
        assert {path.result().read_bytes() for path in found} == {CONTENT}
    assert handler.ranges == [None]
    assert [file.name for file in tmp_path.iterdir()] == ["net-1234.pth"]


def test_server_without_ranges(server, tmp_path):
    """A server without ranges sends the whole file again."""
    handler, address = server
    handler.understands_ranges = False
    (tmp_path / "net-1234.pth.partial").write_bytes(CONTENT[:CUT])
    assert download(weights(address), tmp_path).read_bytes() == CONTENT


def test_killed_before_the_last_step(server, tmp_path):
    """A complete partial file is not downloaded again."""
    (tmp_path / "net-1234.pth.partial").write_bytes(CONTENT)
    assert download(weights(server[1]), tmp_path).read_bytes() == CONTENT


def test_too_much(server, tmp_path):
    """A partial file that is too long is an error, and the next attempt starts over."""
    (tmp_path / "net-1234.pth.partial").write_bytes(CONTENT + b"x")
    with pytest.raises(UserError, match="416"):
        download(weights(server[1], None), tmp_path)
    assert download(weights(server[1]), tmp_path).read_bytes() == CONTENT


def test_wrong_checksum(server, tmp_path):
    """A file with another checksum is removed."""
    with pytest.raises(UserError, match=rf"expected sha256 00000000\.\.\., got {SHA256}"):
        download(weights(server[1], "00000000"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_published_checksum(server, tmp_path, capsys):
    """Without a published checksum, the checksum is printed."""
    download(weights(server[1], None), tmp_path)
    assert f"net-1234.pth: sha256 {SHA256}" in capsys.readouterr().err


def test_offline(tmp_path, monkeypatch):
    """The error explains a manual download."""
    monkeypatch.setenv("NETZOO_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    entry = weights("http://127.0.0.1:1/models/resnet50-0676ba61.pth")
    monkeypatch.setitem(CATALOGUE, "resnet50.tv_in1k", entry)
    with pytest.raises(UserError) as error:
        load_weights("resnet50.tv_in1k")
    text = str(error.value)
    assert "resnet50.tv_in1k" in text
    assert f"{entry.address}\nas {tmp_path}/weights/resnet50-0676ba61.pth\n" in text
    assert "load_weights(PATH, model='resnet50')" in text


def test_what_was_brought_by_hand_is_used(tmp_path):
    """An existing file needs no request."""
    (tmp_path / "net-1234.pth").write_bytes(b"x")
    assert download(weights("http://127.0.0.1:1/net-1234.pth"), tmp_path).read_bytes() == b"x"
