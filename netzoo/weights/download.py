"""Downloads published weights into a cache folder once, and resumes interrupted downloads.

One process of the machine downloads a file at a time, and the others wait for it.

A file is named `NAME.partial` until it is complete and its checksum is verified.
"""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from netzoo.cache import cache_folder
from netzoo.errors import UserError, note
from netzoo.files import appending, make_folder
from netzoo.lock import one_at_a_time
from netzoo.progress import byte_bar
from netzoo.weights.published import PublishedWeights

TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 20  # bytes


def download(weights: PublishedWeights, folder: Path | None = None) -> Path:
    """Return the path of published weights, and download them if they are absent.

    The file is in `folder`, by default `weights` in `cache_folder()`.

    Raises:
      UserError: The download failed, or the checksum differs; the message explains a manual
        download.
    """
    path = (folder or cache_folder() / "weights") / weights.address.rsplit("/", 1)[1]
    if path.exists():
        return path
    make_folder(path.parent)
    with one_at_a_time(path.with_name(f".{path.name}.lock"), f"downloading {path.name}"):
        if not path.exists():  # another process may have downloaded it meanwhile
            _download(weights, path)
    return path


def _download(weights: PublishedWeights, path: Path) -> None:
    """Download published weights as `path`; raise the errors of `download`."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        _fetch(weights.address, partial)
    except (OSError, http.client.HTTPException) as error:
        kept = _size(partial)
        raise UserError(
            f"cannot download {weights.name}: {error}\n"
            + (f"{kept:,} bytes are kept, and the next attempt resumes there.\n" if kept else "")
            + f"To download by hand, save {weights.address}\nas {path}\n"
            f"or anywhere, and pass the path: load_weights(PATH, model={weights.model!r})"
        ) from None
    with partial.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if weights.sha256 is None:
        note(f"{path.name}: sha256 {sha256}; no published checksum to compare")
    elif not sha256.startswith(weights.sha256):
        partial.unlink()
        raise UserError(
            f"{weights.address} has another checksum: expected sha256 {weights.sha256}..., "
            f"got {sha256}; the file was removed. Try again, or save a copy as {path}"
        )
    os.replace(partial, path)


def _fetch(address: str, partial: Path) -> None:
    """Append the missing bytes to `partial`; raise OSError if the connection is cut."""
    start = _size(partial)
    headers = {"User-Agent": "netzoo"} | ({"Range": f"bytes={start}-"} if start else {})
    request = urllib.request.Request(address, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if start and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if error.headers.get("Content-Range") == f"bytes */{start}":
                return  # the file is complete; only its checksum was not verified
            partial.unlink()
        raise
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            start = 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        bar = byte_bar(partial.stem, total, start)
        if not start:
            partial.unlink(missing_ok=True)
        with appending(partial) as file, bar as advance:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                advance(len(chunk))
    if total is not None and _size(partial) < total:
        raise OSError(f"the connection closed after {_size(partial):,} of {total:,} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
