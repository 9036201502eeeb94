"""The images in tar files: where each lies, and its label. Indices are kept in the cache folder.

A sample is the files of a tar that have the same name up to the first dot, such as `0001.jpg` and
`0001.cls` (https://github.com/webdataset/webdataset).
"""

import contextlib
import hashlib
import json
import os
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from netzoo.cache import cache_folder
from netzoo.data.decode import check_header
from netzoo.data.files import DECODED, NOT_DECODED, ImageError, is_litter
from netzoo.data.source import SourceError
from netzoo.data.sources.columns import USUAL
from netzoo.errors import UserError, note, printable
from netzoo.files import open_regular, write_text
from netzoo.json_files import parse_json, read_json

MAX_TAR = 1 << 46
_MAX_INDEX, _MAX_LABEL = 1 << 30, 1 << 20
_IMAGES = tuple(suffix[1:] for suffix in (*DECODED, *NOT_DECODED))
Label = str | list[str]


class Sample(NamedTuple):
    """An image of a tar and its label: a class, or a list of classes."""

    name: str  # of the image in the tar
    offset: int
    size: int
    label: Label


class TarIndex(NamedTuple):
    """The samples of a tar in their order."""

    samples: list[Sample]
    others: Counter[str]  # numbers of files that belong to no image, by kind
    corrupt: list[str]  # reasons


def read_indices(tars: Sequence[Path], key: str | None) -> list[TarIndex]:
    """Return the indices of tars; `key` names the label in JSON files.

    Raises:
      SourceError: A tar is missing, compressed or damaged, or an image has no label.
    """
    indices, new = [], 0
    for tar in tars:
        try:
            with open_regular(tar, MAX_TAR) as file:
                status = os.fstat(file.fileno())
                stamp = [status.st_size, status.st_mtime_ns]
                place = _cached(tar, key)
                found = _read_cached(place, stamp)
                if found is None:
                    new += 1
                    found = _indexed(file, tar, key)
                    _write_cached(place, stamp, found)
        except OSError as error:
            raise SourceError(f"Cannot read the tar {tar}: {error.strerror or error}.") from error
        indices.append(found)
    if new:
        note(f"indexed {new:,} of {len(tars):,} tar files in {cache_folder() / 'tar_indices'}")
    return indices


def _cached(tar: Path, key: str | None) -> Path:
    digest = hashlib.sha256(f"{tar.resolve()}\0{key}".encode(errors="surrogateescape"))
    return cache_folder() / "tar_indices" / f"{digest.hexdigest()[:32]}.json"


def _read_cached(place: Path, stamp: list[int]) -> TarIndex | None:
    sample = [str, int, int, (str, [str])]  # the fields of `Sample`
    shape = {"stamp": [int], "samples": [sample], "others": {"*": int}, "corrupt": [str]}
    try:
        found = read_json(place, shape, _MAX_INDEX)
    except (UserError, OSError):
        return None
    if found["stamp"] != stamp:
        return None
    samples = [Sample(*values) for values in found["samples"]]
    return TarIndex(samples, Counter(found["others"]), found["corrupt"])


def _write_cached(place: Path, stamp: list[int], index: TarIndex) -> None:
    content = {"stamp": stamp, **index._asdict()}
    with contextlib.suppress(OSError, UserError):  # a full or read-only disk only costs time
        place.parent.mkdir(parents=True, exist_ok=True)
        write_text(place, json.dumps(content))


def _indexed(file: BinaryIO, tar: Path, key: str | None) -> TarIndex:
    """Check the image headers of an open tar, and return its index."""
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, Label] = {}
    labelling: set[str] = set()  # names of the files of labels
    others: Counter[str] = Counter()
    corrupt = []
    try:
        with tarfile.open(fileobj=file, mode="r:") as members:
            for member in members:
                if member.isdir():
                    continue
                sample, suffix = _split(member.name)
                if reason := _left_out(member):
                    others[reason] += 1
                elif suffix in _IMAGES:
                    if sample in images:
                        raise SourceError(
                            f"{tar} has several images of the sample {printable(sample)!r}: "
                            f"{printable(images[sample].name)} and {printable(member.name)}"
                        )
                    images[sample] = member
                    corrupt += _problem(members, member, tar)
                elif member.name in labelling:
                    raise SourceError(f"{tar} has the label {printable(member.name)} twice")
                elif suffix == "cls" or (suffix == "json" and sample not in labels):
                    labelling.add(member.name)
                    labels[sample] = _label(members, member, tar, key)
                else:
                    others[f".{suffix}" if suffix else "without extension"] += 1
    except (tarfile.TarError, EOFError) as error:
        raise SourceError(
            f"{tar} is not an uncompressed tar, or is damaged: {error}. netzoo reads images at "
            "their places in the tar, so unpack compressed tars first: gunzip FILE."
        ) from error
    if lacking := next((image.name for name, image in images.items() if name not in labels), None):
        raise SourceError(
            f"{tar}: the image {printable(lacking)} has no label; expected a file "
            f"{printable(_split(lacking)[0])}.cls or .json beside it"
        )
    others["labels without image"] += len(labels.keys() - images.keys())
    samples = [
        Sample(image.name, image.offset_data, image.size, labels[name])
        for name, image in images.items()
    ]
    return TarIndex(samples, +others, corrupt)


def _left_out(member: tarfile.TarInfo) -> str | None:
    """Return the kind of a member that is not read as a file of a sample, or None."""
    parts = PurePosixPath(member.name).parts
    if ".." in parts:
        return "with .. in the path"
    if any(map(is_litter, parts)):
        return "hidden"
    return "links and other members" if not member.isreg() or member.issparse() else None


def _split(name: str) -> tuple[str, str]:
    """Return the name of a sample, and the extension in lower case without the dot."""
    folder, slash, file = name.rpartition("/")
    stem, _, suffix = file.partition(".")
    return folder + slash + stem, suffix.lower()


def _problem(members: tarfile.TarFile, member: tarfile.TarInfo, tar: Path) -> list[str]:
    file = members.extractfile(member)
    assert file is not None  # a regular member
    try:
        check_header(file, f"{tar.name}/{member.name}")  # type: ignore[arg-type]
    except ImageError as error:
        return [str(error)]
    return []


def _label(members: tarfile.TarFile, member: tarfile.TarInfo, tar: Path, key: str | None) -> Label:
    """Return the class or the classes in a `.cls` or `.json` file.

    Raises:
      SourceError: The file has no such label.
    """
    file, where = members.extractfile(member), f"{tar}: {printable(member.name)}"
    assert file is not None  # a regular member
    if member.size > _MAX_LABEL:
        raise SourceError(f"{where} has {member.size:,} bytes; expected at most {_MAX_LABEL:,}")
    try:
        if member.name.lower().endswith(".cls"):
            value: Any = file.read().decode().strip()
        else:
            value = _of_json(parse_json(file.read(), object), key, where)
    except ValueError as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{where} has no label: {printable(str(error))}") from None
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str | int) and not isinstance(text, bool) for text in texts):
        raise SourceError(
            f"{where}: the label is {printable(json.dumps(value))[:80]}; expected a text, a whole "
            "number or a list of them"
        )
    return [str(text) for text in texts] if isinstance(value, list) else str(value)


def _of_json(value: Any, key: str | None, where: str) -> Any:
    if not isinstance(value, dict):
        return value
    names = (key,) if key else (*USUAL["label"], "cls")
    found = next((name for name in names if name in value), None)
    if found is None:
        raise SourceError(
            f"{where} has the keys {printable(', '.join(value))[:200]}; expected "
            f"{' or '.join(names)}. Name the key of the label: label=KEY."
        )
    return value[found]
