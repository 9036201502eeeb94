"""The interface of sources of labelled images, and their errors."""

import hashlib
import os
import threading
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypedDict, runtime_checkable

import numpy as np

from netzoo.data.files import ImageError
from netzoo.errors import UserError, note

CORRUPT_HINT = "Replace the file, or skip it: data.on_corrupt=skip."


class Example(TypedDict):
    """One labelled image.

    `image` holds the encoded file (bytes), or RGB pixels (uint8 `[H, W, 3]`) from a cache. `label`
    indexes `Source.class_names`. In a multi-label source, `label` is float32 `[classes]` instead: 1
    for the classes in the image, 0 for the others. `name` identifies the image in error messages
    and reports.
    """

    image: bytes | np.ndarray
    label: int | np.ndarray
    name: str


@runtime_checkable
class Source(Protocol):
    """A fixed, random-access, thread-safe sequence of labelled images.

    A source may also have three more attributes. `names` are texts that identify its examples in
    order, such as the names of files. `labels` are the labels of all examples in order, if the
    source knows these without reading the images. A continued run compares names and labels to
    detect changed data; see `fingerprint`. `multi_label` is True if an image may have any number of
    classes; see `is_multi_label` and `Example`.
    """

    name: str
    split: str
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of examples in the split."""

    def __getitem__(self, index: int) -> Example:
        """Return the example at `index`, which is the same in every call."""


class SourceError(UserError):
    """A source specification, folder or split is invalid."""


class DatasetNotFoundError(SourceError):
    """A known data set is not on this machine and could not be downloaded."""


class HeldOutSource:
    """A source whose images cannot be read: the test split during training.

    Names and labels stay known, for `fingerprint_of`.
    """

    def __init__(self, source: Source):
        """Hold out the examples of `source`."""
        self.name, self.split, self.class_names = source.name, source.split, source.class_names
        self.names, self._length = getattr(source, "names", None), len(source)
        self.labels = getattr(source, "labels", None)
        self.multi_label = is_multi_label(source)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        raise RuntimeError(
            f"example {index} of {self.name} {self.split} was read in training; only `netzoo eval` "
            "reads the test split"
        )


class SkipCorrupt:
    """Reports each corrupt example once on standard error, and counts them.

    Data sets and threads may share an instance; its length is the number of corrupt examples.
    """

    def __init__(self) -> None:
        self._messages: set[str] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, error: ImageError) -> None:
        """Record a corrupt example."""
        with self._lock:
            if str(error) not in self._messages:
                self._messages.add(str(error))
                note(f"Warning: corrupt example left out ({len(self)} so far): {error}")


def fingerprint(
    examples: int, names: Iterable[str] | None, labels: np.ndarray | None = None
) -> dict[str, Any]:
    """Return the number of examples, and the SHA-256 of their names and of their labels.

    Unknown names are None, and unknown labels are left out.
    """
    digest = hashlib.sha256()
    for name in names or ():
        digest.update(os.fsencode(name) + b"\0")
    found = {"examples": examples, "names": None if names is None else digest.hexdigest()}
    if labels is not None:
        found["labels"] = hashlib.sha256(np.asarray(labels, "<f8").tobytes()).hexdigest()
    return found


def fingerprint_of(source: Source) -> dict[str, Any]:
    """Return the `fingerprint` of a source, with the labels if the source knows them."""
    names, labels = (getattr(source, attribute, None) for attribute in ("names", "labels"))
    return fingerprint(len(source), names, labels)


def is_multi_label(source: Source) -> bool:
    """Return whether the labels of a source are vectors instead of class numbers."""
    return getattr(source, "multi_label", False)


def classes_of(label: int | np.ndarray) -> tuple[int, ...]:
    """Return the numbers of the classes of an image: one, or any number in a multi-label source."""
    return tuple(np.flatnonzero(label).tolist()) if isinstance(label, np.ndarray) else (label,)


def class_text(label: int | np.ndarray, class_names: Sequence[str]) -> str:
    """Return the classes of an image as a text: `daisy`, `cat + dog` or `no class`."""
    return " + ".join(class_names[number] for number in classes_of(label)) or "no class"


def labels_of(source: Source, skip_corrupt: bool) -> np.ndarray:
    """Return the labels of all examples in order: int64 `[N]`, or float32 `[N, classes]`.

    A source without the attribute `labels` is read once in full. If `skip_corrupt`, the label of an
    unreadable example is -1; training and evaluation skip it.

    Raises:
      ImageError: An example cannot be read and `skip_corrupt` is False.
    """
    multi_label = is_multi_label(source)
    labels = getattr(source, "labels", None)
    if labels is None:
        unreadable = np.full(len(source.class_names), -1) if multi_label else -1
        labels = []
        for index in range(len(source)):
            try:
                labels.append(source[index]["label"])
            except ImageError:
                if not skip_corrupt:
                    raise
                labels.append(unreadable)
    return np.asarray(labels, np.float32 if multi_label else np.int64)


def example_name(source: Source, index: int) -> str:
    """Return the `name` of an example without reading it."""
    names = getattr(source, "names", None) or ()
    if len(names) == len(source):
        return names[index]
    return f"{source.name} {source.split} example {index}"


def skip_or_raise(skip: SkipCorrupt | None, error: ImageError) -> None:
    """Record a corrupt example, or re-raise the error if `skip` is None."""
    if skip is None:
        raise ImageError(f"{error} {CORRUPT_HINT}") from error
    skip.add(error)
