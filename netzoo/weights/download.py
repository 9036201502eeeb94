"""Downloads published weights into a cache folder once, and resumes interrupted downloads.

Only one process of the machine downloads a given file; the others wait for it.

    NAME            the file, complete and verified
    NAME.partial    the bytes so far
    NAME.version    the version of the file on the server to which these bytes belong
    NAME.sha256     the checksum that was found, where none is published
"""

import http.client
import os
import re
import urllib.error
import urllib.request
from pathlib import Path

from netzoo.cache import cache_folder
from netzoo.errors import UserError, note
from netzoo.files import appending, read_text, sha256_of, write_text
from netzoo.lock import one_at_a_time
from netzoo.progress import byte_bar
from netzoo.weights.formats.read import read_weights
from netzoo.weights.hub.fetch import SCHEME, repository
from netzoo.weights.published import PublishedWeights

TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 20  # bytes


def download(weights: PublishedWeights, folder: Path | None = None) -> Path:
    """Return the path of published weights, and download them if they are absent.

    The file is in `folder`, by default `weights` in `cache_folder()`. Weights on the Hugging Face
    Hub are in its own cache; see `netzoo.weights.hub.fetch`.

    Raises:
      UserError: The download failed, the received file is not the published one, or an earlier
        download has changed; the message explains what to do.
    """
    if weights.address.startswith(SCHEME):
        return repository(weights.address).weights().path
    path = (folder or cache_folder() / "weights") / weights.address.rsplit("/", 1)[1]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)  # or a link to a larger disk
        with one_at_a_time(path.with_name(f".{path.name}.lock"), f"downloading {path.name}"):
            if not path.exists():  # another process may have downloaded it meanwhile
                _download(weights, path)
                return path
    _check_unchanged(path)
    return path


def _download(weights: PublishedWeights, path: Path) -> None:
    """Download published weights as `path`; raise the errors of `download`."""
    partial = _beside(path, "partial")
    try:
        _fetch(weights.address, path)
    except (OSError, http.client.HTTPException) as error:
        kept = _kept(path)
        raise UserError(
            f"cannot download {weights.name}: {error}\n"
            + (f"{kept:,} bytes are kept, and the next attempt resumes there.\n" if kept else "")
            + f"To download by hand, save {weights.address}\nas {path}\n"
            "or anywhere, and pass the path of the file instead of the name"
        ) from None
    try:
        _check(weights, partial)
    except UserError as error:
        _forget(path)
        raise UserError(
            f"{weights.address} {error}; the file was removed. Try again, or save a copy as {path}"
        ) from None
    if weights.sha256 is None:
        sha256 = sha256_of(partial)
        note(
            f"{path.name}: no checksum is published; sha256 {sha256} is saved, and later uses "
            "check the file against it"
        )
        write_text(_beside(path, "sha256"), f"{sha256}  {path.name}\n")
    os.replace(partial, path)
    _forget(path)
    note(f"{weights.name}: downloaded as {path}, licence {weights.licence}")


def _check(weights: PublishedWeights, partial: Path) -> None:
    """Raise a UserError if a file is not the published one, as far as this is known."""
    if weights.sha256 is None:
        try:
            read_weights(partial)
        except UserError as error:
            raise UserError(f"did not send weights: {error}") from None
    elif not (sha256 := sha256_of(partial)).startswith(weights.sha256):
        raise UserError(
            f"has the wrong checksum: expected sha256 {weights.sha256}..., got {sha256}"
        )


def _check_unchanged(path: Path) -> None:
    """Compare a file with the checksum that its download found, if it is remembered.

    Raises:
      UserError: The file has changed.
    """
    remembered = _beside(path, "sha256")
    if remembered.exists() and sha256_of(path) != read_text(remembered).partition(" ")[0]:
        raise UserError(
            f"{path} has changed since it was downloaded: its sha256 is not that in {remembered}. "
            "Remove both to download it again; if you have replaced it yourself, remove only "
            f"{remembered}"
        )


def _fetch(address: str, path: Path) -> None:
    """Download the missing bytes of `path`; raise OSError if the connection is cut.

    Bytes of two versions of a file are never joined: the version that the server names is kept
    beside the bytes, and the server is asked for the rest of this version only.
    """
    partial, version = _beside(path, "partial"), _beside(path, "version")
    start = _kept(path)
    headers = {"User-Agent": "netzoo"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": read_text(version)}
    request = urllib.request.Request(address, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if start and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if error.headers.get("Content-Range") == f"bytes */{start}":
                return  # the file is complete; only its checksum was not verified
            _forget(path)
        raise
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            _forget(path)
            start = 0
            if found := _version(response.headers):
                write_text(version, found)
        elif not _continues(response.headers, start, read_text(version)):
            _forget(path)
            raise OSError("the server sent other bytes than the missing ones")
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        bar = byte_bar(path.name, total, start)
        with appending(partial) as file, bar as advance:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                advance(len(chunk))
    if total is not None and _size(partial) < total:
        raise OSError(f"the connection closed after {_size(partial):,} of {total:,} bytes")


def _version(headers: http.client.HTTPMessage) -> str | None:
    """Return what identifies a file's version byte for byte (RFC 9110, section 13.1.5)."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified")


def _continues(headers: http.client.HTTPMessage, start: int, version: str) -> bool:
    """Return whether a partial answer begins at `start` and belongs to the kept version."""
    place = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return place is not None and int(place[1]) == start and _version(headers) in (None, version)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}.{suffix}")


def _kept(path: Path) -> int:
    """Return how many bytes a download need not fetch again."""
    return _size(_beside(path, "partial")) if _beside(path, "version").exists() else 0


def _forget(path: Path) -> None:
    """Remove what an unfinished download has left."""
    for suffix in ("partial", "version"):
        _beside(path, suffix).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
