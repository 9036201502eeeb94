"""Reads every image of a source: its size, its classes, and what identifies it."""

import hashlib
import importlib.util
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from PIL import Image

from netzoo.data.decode import decode_image
from netzoo.data.files import ImageError
from netzoo.data.source import Source, class_text, classes_of, example_name
from netzoo.errors import UserError
from netzoo.progress import track

_SIDE = 16
BITS = _SIDE * _SIDE
_AT_ONCE = 256  # examples; limits the memory of pending results


class Examined(NamedTuple):
    """One image of a source; `problem` says why it cannot be read."""

    name: str  # name of the example
    split: str
    classes: tuple[int, ...] = ()
    label: str = ""  # the names of its classes
    digest: str = ""  # SHA-256 of the file
    bits: np.ndarray | None = None  # perceptual hash, bool [256]; None if it was not asked for
    size: tuple[int, int] = (0, 0)  # width and height in pixels
    bytes: int = 0  # size of the file
    problem: str | None = None


def can_hash() -> bool:
    """Return whether the package for perceptual hashes is installed."""
    return importlib.util.find_spec("imagehash") is not None


def check_can_hash() -> None:
    """Raise a UserError if the package for perceptual hashes is not installed."""
    if not can_hash():
        raise UserError(
            "finding near duplicates needs the package imagehash: pip install 'netzoo[duplicates]'"
        )


def examine(source: Source, threads: int = 2, *, hashing: bool = True) -> Iterator[Examined]:
    """Decode every image of a source in full, in order.

    The bits of the perceptual hash are the signs of the lowest 16 x 16 frequencies of the grey
    image, relative to their median.

    Args:
      source: The examples.
      threads: Threads that read and decode images.
      hashing: Whether to compute perceptual hashes.

    Raises:
      UserError: `hashing` is True, but the package imagehash is not installed.
    """
    if hashing:
        check_can_hash()

    def one(index: int) -> Examined:
        try:
            example = source[index]
            image, name, label = example["image"], example["name"], example["label"]
            pixels = decode_image(image, name) if isinstance(image, bytes) else image
        except ImageError as error:
            return Examined(example_name(source, index), source.split, problem=str(error))
        data = image if isinstance(image, bytes) else image.tobytes()
        return Examined(
            name,
            source.split,
            classes_of(label),
            class_text(label, source.class_names),
            hashlib.sha256(data).hexdigest(),
            _perceptual_hash(pixels) if hashing else None,
            (pixels.shape[1], pixels.shape[0]),
            len(data),
        )

    with ThreadPoolExecutor(threads) as pool:
        starts = range(0, len(source), _AT_ONCE)
        for first in track(starts, f"checking {source.split}"):
            yield from pool.map(one, range(first, min(first + _AT_ONCE, len(source))))


def _perceptual_hash(pixels: np.ndarray) -> np.ndarray:
    import imagehash

    return imagehash.phash(Image.fromarray(pixels), hash_size=_SIDE).hash.ravel()
