"""Copies data of a bucket to this machine, where sources read it.

A source reads examples in any order. In a bucket, each of them would wait for the network, and the
reader of TFDS's files cannot read from there.
"""

import contextlib
import functools
import hashlib
import json
import re
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from netzoo.buckets import Version, bucket_folder, copy_object, is_in_bucket, versions_below
from netzoo.cache import CACHE_VARIABLE, cache_folder
from netzoo.data.source import SourceError
from netzoo.errors import note, printable
from netzoo.files import MAX_LOG, replacing, write_text
from netzoo.json_files import OtherShape, read_json
from netzoo.lock import one_at_a_time
from netzoo.paths import user_path
from netzoo.progress import byte_bar

_THREADS = 16


def local_folder(path: str, part: str = "") -> Path:
    """Return a folder of this machine: `path`, or a copy of the objects below an address.

    The copy is in the cache folder. It is brought up to date once in each process: objects of
    another version are copied again, and files without an object are deleted.

    Args:
      path: A path, or an address such as `gs://BUCKET/FOLDER`.
      part: The folder below an address to copy; "" copies everything.

    Raises:
      BucketError: The bucket cannot be read.
      SourceError: The address has no objects, or they have no place on the disk.
    """
    return _mirror(path.rstrip("/"), part) if is_in_bucket(path) else user_path(path)


@functools.cache
def _mirror(address: str, part: str) -> Path:
    readable = re.sub(r"[^a-z0-9]+", "-", address.lower())[-60:].strip("-")
    digest = hashlib.sha256(address.encode()).hexdigest()[:12]
    folder = cache_folder() / "data" / f"{readable}-{digest}"
    bucket, beside = bucket_folder(address) / part, f"{folder}.{part or 'all'}"
    (folder / part).mkdir(parents=True, exist_ok=True)
    with one_at_a_time(Path(f"{beside}.lock"), f"copying {bucket}"):
        _update(bucket, folder / part, Path(f"{beside}.json"))
    return folder


def _update(bucket: Path, folder: Path, listed: Path) -> None:
    """Make `folder` equal to `bucket`; the file `listed` has the versions of the files."""
    objects = versions_below(bucket)
    if not objects:
        raise SourceError(f"{bucket} holds no objects; expected the files of a data set")
    _check_names(bucket, objects)
    before = _read(listed)
    kept = {
        name: version
        for name, version in objects.items()
        if before.get(name) == version and (folder / name).is_file()
    }
    for name in before.keys() - objects.keys():
        _remove(folder, name)
    missing = {name: version for name, version in objects.items() if name not in kept}
    size, free = sum(version.size for version in missing.values()), shutil.disk_usage(folder).free
    if size > free:
        raise SourceError(
            f"{bucket}: {size / 1e9:.1f} GB to copy, and {folder} has room for {free / 1e9:.1f} "
            f"GB; set {CACHE_VARIABLE} to a folder of a larger disk"
        )
    if missing:
        note(f"copying {len(missing):,} objects of {bucket}, {size / 1e6:,.1f} MB, to {folder}")
    try:
        _copy(bucket, folder, missing, kept)
    finally:
        write_text(listed, json.dumps(kept))  # a copy that was stopped continues here


def _copy(bucket: Path, folder: Path, missing: dict[str, Version], kept: dict) -> None:
    """Copy objects, and add each of them to `kept` when it is complete."""

    def copy(name: str) -> int:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with replacing(folder / name) as file:
            copy_object(bucket / name, missing[name].size, file)
        kept[name] = missing[name]
        return missing[name].size

    total = sum(version.size for version in missing.values())
    pool = ThreadPoolExecutor(max_workers=_THREADS)
    try:
        with byte_bar(f"copying {bucket}", total, 0) as advance:
            for size in pool.map(copy, missing):
                advance(size)
    finally:
        pool.shutdown(cancel_futures=True)


def _remove(folder: Path, name: str) -> None:
    """Delete a file, and the folders that are then empty."""
    (folder / name).unlink(missing_ok=True)
    for parent in Path(name).parents:
        with contextlib.suppress(OSError):  # it has other files
            (folder / parent).rmdir()


def _check_names(bucket: Path, names: Iterable[str]) -> None:
    """Raise a SourceError unless each name is a path below the folder and no parent of others."""
    parents = {name[: end.start()] for name in names for end in re.finditer("/", name)}
    for name in names:
        parts = name.split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts) or name in parents:
            raise SourceError(
                f"{bucket}: the object {printable(name)} has no place in a folder; rename it"
            )


def _read(listed: Path) -> dict[str, Version]:
    try:
        read = read_json(listed, {"*": [int, str]}, MAX_LOG)
    except (OSError, OtherShape):  # the first copy, or a damaged file
        return {}
    return {name: Version(*version) for name, version in read.items()}
