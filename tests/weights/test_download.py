"""Downloads from a local server: resuming, checksums and network errors."""

import hashlib
import http.server
import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
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
    """Serves `content`; `cut` ends the connection early, `ranges` are the requests' headers."""

    content = CONTENT
    etag = '"1"'
    cut = False
    understands_ranges = True
    shift = 0  # bytes by which a partial answer is off, as from a broken proxy
    ranges: list = []  # noqa: RUF012

    def do_GET(self):
        wanted = self.headers["Range"]
        self.ranges.append(wanted)
        start = 0
        size = len(self.content)
        if wanted and self.understands_ranges and self.headers["If-Range"] == self.etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.end_headers()
            return
        start += self.shift
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        if self.etag:
            self.send_header("ETag", self.etag)
        self.end_headers()
        self.wfile.write(self.content[start : start + CUT] if self.cut else self.content[start:])

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


def test_the_folder_may_be_a_link(server, tmp_path):
    """Protects users who keep the cache on a larger disk."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "weights").symlink_to(tmp_path / "disk")
    download(weights(server[1]), tmp_path / "weights")
    assert names_in(tmp_path / "disk") == ["net-1234.pth"]


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
    assert names_in(tmp_path) == ["net-1234.pth.partial", "net-1234.pth.version"]
    handler.cut = False
    assert download(weights(address), tmp_path).read_bytes() == CONTENT
    assert handler.ranges == [None, "bytes=300000-"]
    assert names_in(tmp_path) == ["net-1234.pth"]


@pytest.mark.parametrize("etag", ['"2"', None])
def test_never_joins_two_versions(server, tmp_path, etag):
    """Protects the weights: if the file on the server has changed, all of it is downloaded."""
    handler, address = server
    handler.cut = True
    with pytest.raises(UserError, match="300,000 bytes are kept"):
        download(weights(address), tmp_path)
    handler.cut, handler.etag, handler.content = False, etag, CONTENT[::-1]
    sha256 = hashlib.sha256(CONTENT[::-1]).hexdigest()
    assert download(weights(address, sha256), tmp_path).read_bytes() == CONTENT[::-1]


def test_without_a_version_nothing_is_continued(server, tmp_path):
    """Protects from a server that does not tell versions apart: the next attempt starts over."""
    handler, address = server
    handler.cut, handler.etag = True, None
    with pytest.raises(UserError) as error:
        download(weights(address), tmp_path)
    assert "are kept" not in str(error.value)
    handler.cut = False
    assert download(weights(address), tmp_path).read_bytes() == CONTENT
    assert handler.ranges == [None, None]


def test_part_from_another_place(server, tmp_path):
    """Protects the weights from an answer that begins elsewhere; the next attempt starts over."""
    handler, address = server
    begin(tmp_path, CONTENT[:CUT])
    handler.shift = 10
    with pytest.raises(UserError, match="other bytes than the missing ones"):
        download(weights(address), tmp_path)
    handler.shift = 0
    assert download(weights(address), tmp_path).read_bytes() == CONTENT


def begin(folder, data):
    """Leave what an interrupted download of `data` leaves."""
    (folder / "net-1234.pth.partial").write_bytes(data)
    (folder / "net-1234.pth.version").write_text('"1"')


def names_in(folder):
    return sorted(file.name for file in folder.iterdir())


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
    begin(tmp_path, CONTENT[:CUT])
    assert download(weights(address), tmp_path).read_bytes() == CONTENT


def test_killed_before_the_last_step(server, tmp_path):
    """A complete partial file is not downloaded again."""
    begin(tmp_path, CONTENT)
    assert download(weights(server[1]), tmp_path).read_bytes() == CONTENT


def test_too_much(server, tmp_path):
    """A partial file that is too long is an error, and the next attempt starts over."""
    begin(tmp_path, CONTENT + b"x")
    with pytest.raises(UserError, match="416"):
        download(weights(server[1], None), tmp_path)
    assert download(weights(server[1]), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("continued", [True, False])
def test_a_link_in_place_of_the_part(server, tmp_path, continued):
    """Protects a file elsewhere from a link that another user left in the folder."""
    (tmp_path / "mine").write_bytes(CONTENT[:CUT])
    (tmp_path / "weights").mkdir()
    begin(tmp_path / "weights", CONTENT[:CUT])
    partial = tmp_path / "weights" / "net-1234.pth.partial"
    partial.unlink()
    partial.symlink_to(tmp_path / "mine")
    if continued:
        with pytest.raises(UserError, match=r"net-1234\.pth\.partial must be a regular file"):
            download(weights(server[1]), tmp_path / "weights")
    else:
        (tmp_path / "weights" / "net-1234.pth.version").unlink()
        assert download(weights(server[1]), tmp_path / "weights").read_bytes() == CONTENT
    assert (tmp_path / "mine").read_bytes() == CONTENT[:CUT]


def test_wrong_checksum(server, tmp_path):
    """A file with another checksum is removed."""
    with pytest.raises(UserError, match=rf"expected sha256 00000000\.\.\., got {SHA256}"):
        download(weights(server[1], "00000000"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def npz():
    """The bytes of a file of weights."""
    file = io.BytesIO()
    np.savez(file, kernel=np.arange(100_000, dtype=np.float32))
    return file.getvalue()


def test_without_a_published_checksum_the_found_one_is_remembered(server, tmp_path, npz, capsys):
    """Protects cached weights: a file that has changed since its download is refused."""
    handler, address = server
    handler.content = npz
    path = download(weights(address, None), tmp_path)
    sha256 = hashlib.sha256(npz).hexdigest()
    said = capsys.readouterr().err
    assert f"sha256 {sha256} is saved" in said and "licence BSD-3-Clause" in said
    assert (tmp_path / "net-1234.pth.sha256").read_text() == f"{sha256}  net-1234.pth\n"
    assert download(weights(address, None), tmp_path) == path
    path.write_bytes(npz[:-1] + b"x")
    with pytest.raises(UserError, match=r"net-1234\.pth has changed since it was downloaded"):
        download(weights(address, None), tmp_path)
    assert len(handler.ranges) == 1


@pytest.mark.parametrize("change", [lambda data: b"<html>Log in", lambda data: data[:-100_000]])
def test_what_is_no_file_of_weights_gets_no_name(change, server, tmp_path, npz):
    """Protects from a login page and from a body that a proxy has cut, both with status 200."""
    handler, address = server
    handler.content = change(npz)
    with pytest.raises(UserError, match=r"did not send weights: .*was removed"):
        download(weights(address, None), tmp_path)
    assert names_in(tmp_path) == []


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
    assert "pass the path of the file instead of the name" in text


def test_what_was_brought_by_hand_is_used(tmp_path):
    """An existing file needs no request."""
    (tmp_path / "net-1234.pth").write_bytes(b"x")
    assert download(weights("http://127.0.0.1:1/net-1234.pth"), tmp_path).read_bytes() == b"x"
