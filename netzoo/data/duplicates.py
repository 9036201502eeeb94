"""Finds images that occur twice in a data set, exactly or nearly.

Two images are near if their perceptual hashes (`netzoo.data.examine`) differ in few of 256 bits.
Resizing, compression, other colours and small crops change few bits.
"""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from netzoo.csv_files import read_csv, write_csv
from netzoo.data.examine import BITS, Examined
from netzoo.errors import UserError, printable
from netzoo.paths import user_path

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


def find_duplicates(images: Sequence[Examined], near: int = NEAR) -> list[Pair]:
    """Return the pairs of readable images that are the same, the nearest first.

    Args:
      images: The images of one or more splits. Without perceptual hashes, only identical files are
        found.
      near: Largest distance of a pair, in bits of 256.
    """
    readable = [image for image in images if image.problem is None]
    return sorted(_pair(*found) for found in _matches(readable, near))


def _matches(images: Sequence[Examined], near: int) -> Iterator[tuple[Examined, Examined, int]]:
    """Yield pairs of images and the number of bits in which their hashes differ."""
    hashes = [image.bits for image in images if image.bits is not None]
    if len(hashes) < len(images):
        same: dict[str, list[Examined]] = {}
        for image in images:
            same.setdefault(image.digest, []).append(image)
        for group in same.values():
            yield from ((*pair, 0) for pair in itertools.combinations(group, 2))
        return
    signs = np.where(hashes, 1, -1).astype(np.float32)
    for start in range(0, len(images), _ROWS):
        products = signs[start : start + _ROWS] @ signs.T
        for row, other in zip(*np.nonzero(BITS - products <= 2 * near), strict=True):
            if start + row < other:
                yield images[start + row], images[other], int(BITS - products[row, other]) // 2


def _pair(first: Examined, second: Examined, bits: int) -> Pair:
    distance = -1 if first.digest == second.digest else bits
    described = (printable(x) for im in (first, second) for x in (im.name, im.split, im.label))
    return Pair(distance, first.label != second.label, *described)


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
        return read_csv(path, Pair._fields, _parsed, "a list of `netzoo check`")
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
