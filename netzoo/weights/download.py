"""Fetches published weights into a cache folder, once, and goes on where it was cut off.

A file gets its name when it is complete and its checksum right; until then it is `NAME.partial`.
"""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from netzoo.cache import cache_folder
from netzoo.errors import UserError
from netzoo.weights.published import PublishedWeights

TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 20  # bytes


def download(weights: PublishedWeights, folder: Path | None = None) -> Path:
    """Returns the file of published weights, fetching it if it is not there.

    Args:
      weights: From the catalogue.
      folder: Where the file lies or is put; `weights` in `cache_folder()` by default.

    Raises:
      UserError: The network fails, or the file has another checksum; says how to do without.
    """
    path = (folder or cache_folder() / "weights") / weights.address.rsplit("/", 1)[1]
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        _fetch(weights.address, partial)
    except (OSError, http.client.HTTPException) as error:
        kept = partial.stat().st_size if partial.exists() else 0
        raise UserError(
            f"cannot fetch {weights.name}: {error}\n"
            + (f"{kept:,} bytes are kept, and another try goes on from there.\n" if kept else "")
            + f"Without a network: bring {weights.address}\nto {path}\n"
            f"or anywhere, and give the path: load_weights(PATH, model={weights.model!r})"
        ) from None
    found = _sha256(partial)
    if weights.sha256 is None:
        print(f"{path.name}: sha256 {found}; none is published to compare it with")
    elif not found.startswith(weights.sha256):
        partial.unlink()
        raise UserError(
            f"{weights.address} is not what was published: expected sha256 {weights.sha256}..., "
            f"found {found}; the file was removed. Try again, or bring it from elsewhere to {path}"
        )
    os.replace(partial, path)
    return path


def _fetch(address: str, partial: Path) -> None:
    """Appends to `partial` what it lacks; raises OSError where that is cut off."""
    start = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(address, headers={"User-Agent": "netzoo"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if start and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            total = error.headers.get("Content-Range", "").removeprefix("bytes */")
            if total == str(start):
                return  # only the last step, the checksum, was lacking
            partial.unlink()
        raise
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            start = 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        with partial.open("ab" if start else "wb") as file, _progress() as progress:
            bar = progress.add_task(partial.stem, total=total, completed=start)
            while chunk := response.read(CHUNK):
                file.write(chunk)
                progress.advance(bar, len(chunk))
    size = partial.stat().st_size
    if total is not None and size < total:
        raise OSError(f"the connection ended after {size:,} of {total:,} bytes")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
