"""Finds images that occur twice in a data set, exactly or nearly.

Two images are near if their perceptual hashes differ in few of 256 bits. The bits are the signs of
the lowest 16 x 16 frequencies of the grey image, relative to their median. Resizing, compression,
other colours and small crops change few bits.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from netzoo.csv_files import read_csv, write_csv
from netzoo.data.decode import decode_image
from netzoo.data.files import ImageError
from netzoo.data.source import Source, SourceError, class_text
from netzoo.errors import UserError, note, printable
from netzoo.paths import user_path

_SIDE = 16
BITS = _SIDE * _SIDE
# Among the 3,670 photographs of tf_flowers, all pairs up to 76 show the same photograph or the same
# scene; pairs of different flowers begin at 80.
NEAR = 76
_ROWS = 1024  # of the distance matrix at once


class Pair(NamedTuple):
    """Two images that are the same, exactly or nearly."""

    distance: int  # bits of the perceptual hash that differ; -1 for identical files
    contradicting: bool  # whether their classes differ
    first: str  # name of the example
    first_split: str
    first_class: str
    second: str
    second_split: str
    second_class: str


class _Hashed(NamedTuple):
    name: str
    split: str
    label: str
    digest: str  # of the file
    bits: np.ndarray  # bool [256]


def find_duplicates(sources: Iterable[Source], near: int = NEAR, threads: int = 2) -> list[Pair]:
    """Return the pairs of images within and across sources, the nearest first.

    Images that cannot be read are reported on standard error and left out.

    Args:
      sources: Splits of a data set.
      near: Largest distance of a pair, in bits of 256.
      threads: Threads that read and hash images.

    Raises:
      UserError: The package imagehash is not installed, or no image can be read.
    """
    images = [image for source in sources for image in _hashed(source, threads)]
    if not images:
        raise SourceError("every image is unreadable; expected images to compare")
    signs = np.where([image.bits for image in images], 1, -1).astype(np.float32)
    pairs = []
    for start in range(0, len(images), _ROWS):
        products = signs[start : start + _ROWS] @ signs.T
        for row, other in zip(*np.nonzero(BITS - products <= 2 * near), strict=True):
            if start + row < other:
                bits = int(BITS - products[row, other]) // 2
                pairs.append(_pair(images[start + row], images[other], bits))
    return sorted(pairs)


def _pair(first: _Hashed, second: _Hashed, bits: int) -> Pair:
    distance = -1 if first.digest == second.digest else bits
    described = (printable(x) for image in (first, second) for x in image[:3])
    return Pair(distance, first.label != second.label, *described)


def _hashed(source: Source, threads: int) -> Iterator[_Hashed]:
    try:
        import imagehash
    except ModuleNotFoundError:
        raise UserError(
            "finding duplicates needs the package imagehash: pip install 'netzoo[duplicates]'"
        ) from None

    def one(index: int) -> _Hashed | None:
        try:
            example = source[index]
            image, name = example["image"], example["name"]
            pixels = decode_image(image, name) if isinstance(image, bytes) else image
        except ImageError as error:
            note(f"Warning: left out: {error}")
            return None
        bits = imagehash.phash(Image.fromarray(pixels), hash_size=_SIDE).hash.ravel()
        data = image if isinstance(image, bytes) else image.tobytes()
        label = class_text(example["label"], source.class_names)
        return _Hashed(name, source.split, label, hashlib.sha256(data).hexdigest(), bits)

    with ThreadPoolExecutor(threads) as pool:
        yield from filter(None, pool.map(one, range(len(source))))


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """Write pairs as CSV; the names are escaped."""
    rows = ((p.distance, int(p.contradicting), *p[2:]) for p in pairs)
    write_csv(path, Pair._fields, rows, typed=True)


def read_pairs(path: str | os.PathLike[str]) -> list[Pair]:
    """Read what `write_pairs` wrote.

    Raises:
      UserError: The file cannot be read, or it is damaged.
    """
    path = user_path(path)
    try:
        return read_csv(path, Pair._fields, _parsed, "a list of `netzoo duplicates`")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def _parsed(distance: str, contradicting: str, *names: str) -> Pair:
    return Pair(int(distance), bool(int(contradicting)), *names)


def doubtful(pairs: Iterable[Pair], evaluated: Iterable[str]) -> set[str]:
    """Return the evaluated examples that have a doubtful duplicate.

    Such a duplicate is not among the evaluated examples, or is of another class.
    """
    names, found = {printable(name) for name in evaluated}, set()
    for pair in pairs:
        inside = {pair.first, pair.second} & names
        if len(inside) == 1 or pair.contradicting:
            found |= inside
    return found
