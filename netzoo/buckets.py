"""Folders of runs and data in buckets of Google Cloud Storage, `gs://bucket/folder`.

Such a folder is an `etils.epath.Path`, which has the methods of `pathlib.Path` and which Orbax
takes as well. gcsfs (the extra `gcs`) reads and writes small files, and TensorStore the lock and
the arrays of checkpoints. Both repeat a request that fails: gcsfs 6 times within about half a
minute, TensorStore 32 times for an array and 5 times for the lock.

A bucket has neither folders nor links. An object appears under its name at once and completely, so
it needs no temporary name.
"""

import contextlib
import functools
import hashlib
import importlib.util
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from netzoo.errors import UserError, printable

SCHEME = "gs://"
_PATTERN_CHARACTERS = "#*?[]"  # the libraries do not find such objects again, or wait for ever
_CHUNK = 1 << 26  # bytes of an object that are in memory at a time when it is copied
_CREDENTIALS = (
    "no credentials for it; run `gcloud auth application-default login`, or name the file of a "
    "service account in GOOGLE_APPLICATION_CREDENTIALS. Machines of Google Cloud have credentials"
)
_PERMISSION = (
    "no permission; the account needs the role Storage Object User (roles/storage.objectUser) for "
    "this bucket"
)
# The reasons of errors, by their text or type; the first match wins.
_REASONS = {
    r"Anonymous caller|DefaultCredentialsError|HttpError: .*\b401$|http_response_code='401'": (
        _CREDENTIALS
    ),
    r"Forbidden|PERMISSION_DENIED": _PERMISSION,
}
# Modules whose errors are not about the contents of an object.
_LIBRARIES = ("gcsfs", "aiohttp", "requests", "google")
_OF_TENSORSTORE = re.compile("http_response_code|retry attempts failed")


class BucketError(UserError):
    """A bucket cannot be read or written; the message names the address and the reason."""


def is_in_bucket(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is an address in a bucket."""
    return os.fspath(path).startswith(SCHEME)


def bucket_folder(address: str) -> Path:
    """Return the folder of an address such as `gs://bucket/run`, which need not exist.

    Raises:
      BucketError: The address has no folder; the extra `gcs` is missing; or the bucket cannot be
        read, because it does not exist, the credentials are missing or they do not suffice.
    """
    bucket, _, folder = address.removeprefix(SCHEME).partition("/")
    if not re.fullmatch(r"[a-z0-9][-_.a-z0-9]+", bucket) or not folder.strip("/"):
        raise BucketError(f"expected {SCHEME}BUCKET/FOLDER, got {printable(address)}")
    if odd := sorted(set(folder) & set(_PATTERN_CHARACTERS)):
        raise BucketError(
            f"{printable(address)} has {' '.join(odd)} in its name, which the libraries "
            "of the bucket take for patterns; choose another name"
        )
    if importlib.util.find_spec("gcsfs") is None:
        raise BucketError(
            f"{printable(address)} needs the extra gcs: pip install 'netzoo[gcs]'; or give a "
            "folder of this machine"
        )
    _check(bucket)
    from etils import epath

    # epath lacks only the methods for what a bucket lacks, such as links.
    return cast(Path, epath.Path(f"{SCHEME}{bucket}/{folder.strip('/')}"))


@functools.cache
def _check(bucket: str) -> None:
    """Check that the objects of a bucket can be listed."""
    with explained(f"{SCHEME}{bucket}"):
        try:
            _store().call("GET", "b/{}/o", bucket, maxResults=1, json_out=True)
        except FileNotFoundError:
            raise BucketError(
                f"{SCHEME}{bucket}: there is no such bucket; create it, or correct the name"
            ) from None


@functools.cache
def _store() -> Any:
    """Return gcsfs's file system, the one that epath uses."""
    import fsspec

    # If TensorFlow is installed, epath would use TensorFlow's file system; its errors differ.
    os.environ["EPATH_USE_TF"] = "false"
    # A cached list of objects would lack those that TensorStore or another machine writes.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs each error that it raises
    return fsspec.filesystem("gcs", finalize_on_close=True)


def read_object(path: str | os.PathLike[str], limit: int) -> bytes:
    """Return the contents of an object of at most `limit` bytes.

    Raises:
      FileNotFoundError: The object does not exist.
      BucketError: The bucket cannot be read, or the object is too large.
    """
    name = os.fspath(path)
    with explained(name):
        size = _store().info(name)["size"] or 0
        if size > limit:
            raise BucketError(f"{name} has {size:,} bytes, over the limit of {limit:,}")
        return _store().cat_file(name)


def write_object(path: str | os.PathLike[str], data: bytes) -> None:
    """Write an object, completely or not at all.

    Raises:
      BucketError: The bucket cannot be written.
    """
    name = os.fspath(path)
    with explained(name):
        _store().pipe_file(name, data)


def sha256_of_object(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of the contents of an object, in hexadecimal; see `read_object`."""
    name = os.fspath(path)
    with explained(name), _store().open(name, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def objects_below(folder: Path) -> list[Path]:
    """Return all objects below a folder, in the order of their names."""
    with explained(folder):
        found = _store().find(os.fspath(folder))
    prefix = os.fspath(folder).removeprefix(SCHEME).rstrip("/") + "/"
    return [folder / name.removeprefix(prefix) for name in found if not name.endswith("/")]


class Version(NamedTuple):
    """The size and the generation of an object, by which a new version differs from an old one."""

    size: int  # bytes
    generation: str  # a number that grows whenever the object is written


def versions_below(folder: Path) -> dict[str, Version]:
    """Return the versions of all objects below a folder, by their names below it.

    Raises:
      BucketError: The bucket cannot be read.
    """
    with explained(folder):
        found = _store().find(os.fspath(folder), detail=True)
    prefix = os.fspath(folder).removeprefix(SCHEME).rstrip("/") + "/"
    # Names that end with a slash stand for folders.
    return {
        name.removeprefix(prefix): Version(int(fields["size"]), str(fields["generation"]))
        for name, fields in found.items()
        if not name.endswith("/")
    }


def copy_object(path: str | os.PathLike[str], size: int, file: IO[bytes]) -> None:
    """Copy the contents of an object of `size` bytes into a file.

    Raises:
      BucketError: The bucket cannot be read, or the object has changed meanwhile.
    """
    name = os.fspath(path)
    for start in range(0, size, _CHUNK):
        end = min(start + _CHUNK, size)
        with explained(name):
            part = _store().cat_file(name, start=start, end=end)
        if len(part) != end - start:
            raise BucketError(f"{name} has changed while it was copied; try again")
        file.write(part)


def size_of_objects(folder: Path) -> int:
    """Return the sum of the sizes of all objects below a folder, in bytes."""
    with explained(folder):
        return _store().du(os.fspath(folder))


def key_value_store(folder: Path) -> Any:
    """Open TensorStore's key-value store of a folder, whose writes can have conditions."""
    import tensorstore

    bucket, _, path = os.fspath(folder).removeprefix(SCHEME).partition("/")
    retries = {"gcs_request_retries": {"max_retries": 5}}  # after 1, 2, 4, 8 and 16 seconds
    spec = {"driver": "gcs", "bucket": bucket, "path": f"{path}/", "context": retries}
    return tensorstore.KvStore.open(spec).result()


def reason(error: BaseException) -> str | None:
    """Return why a bucket that was just used failed; None if the error has another reason."""
    if isinstance(error, BucketError):
        return str(error)
    text = f"{type(error).__name__}: {error}"
    known = (why for pattern, why in _REASONS.items() if re.search(pattern, text, re.MULTILINE))
    if why := next(known, None):
        return why
    if type(error).__module__.startswith(_LIBRARIES) or _OF_TENSORSTORE.search(text):
        first = text.strip().splitlines()[0]
        return f"it does not answer as expected ({first[:200]}); try again later"
    return None


def uncaught_reason(error: BaseException) -> str | None:
    """Return why a bucket failed if gcsfs raised the error, e.g. called by Orbax; else None."""
    of_gcsfs = type(error).__module__.startswith(("gcsfs", "aiohttp"))
    return reason(error) if of_gcsfs and _store.cache_info().currsize else None


@contextlib.contextmanager
def explained(path: str | os.PathLike[str]) -> Iterator[None]:
    """Convert errors of a bucket in the `with` block to a BucketError that names `path`."""
    try:
        yield
    except BucketError:
        raise
    except Exception as error:
        if why := reason(error):
            raise BucketError(f"{os.fspath(path)}: {why}") from error
        raise
