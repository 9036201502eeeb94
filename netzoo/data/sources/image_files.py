"""A source whose images are files of this machine, and the check of their headers."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from netzoo.data.decode import check_header
from netzoo.data.files import ImageError, open_file, read_file
from netzoo.data.source import CORRUPT_HINT, Example, SourceError
from netzoo.data.splits import split_role
from netzoo.errors import did_you_mean, note, printable

_LISTED = 5


class FileSource:
    """Images in files, with known labels."""

    def __init__(
        self,
        name: str,
        split: str,
        class_names: Sequence[str],
        root: Path,
        names: Sequence[str],
        labels: Sequence[int] | np.ndarray,
    ):
        """List the examples of a split.

        Args:
          name: The name of the source.
          split: The split expression that selected the examples.
          class_names: The names of the classes.
          root: The folder that contains the files.
          names: Paths of the files, relative to `root` with forward slashes, or absolute.
          labels: Numbers of classes `[N]`, or vectors `[N, classes]` of a multi-label source.
        """
        self.name, self.split, self.class_names = name, split, tuple(class_names)
        self.multi_label = np.ndim(labels) == 2
        self.labels = np.asarray(labels, np.float32 if self.multi_label else np.int64)
        self.names = list(names)
        self._root = root

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Example:
        name, label = self.names[index], self.labels[index]
        image = read_file(self._root / name, name)
        return {"image": image, "label": label if self.multi_label else int(label), "name": name}


def hash_order(name: str) -> bytes:
    """Return a key that sorts names in an order without meaning, the same on every machine."""
    return hashlib.sha256(os.fsencode(name)).digest()


def described(class_names: Sequence[str], lengths: Mapping[str, int]) -> str:
    """Return a description of a source: its classes, and its splits with their sizes."""
    names = [*map(printable, class_names[:_LISTED]), *(["..."] * (len(class_names) > _LISTED))]
    parts = [f"{printable(name)} ({count:,} images)" for name, count in lengths.items()]
    return f"{len(class_names):,} classes ({', '.join(names)}); {', '.join(parts)}"


def in_order(classes: Iterable[str]) -> tuple[str, ...]:
    """Return the different classes in alphabetical order, or in the order of their numbers."""
    found = {*classes}
    numbers = all(text.isascii() and text.isdigit() and len(text) < 19 for text in found)
    return tuple(sorted(found, key=int) if numbers else sorted(found))


def label_numbers(
    texts: Sequence[str], splits: Mapping[str, Sequence[int]], where: Callable[[int], str]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the class names and the labels of images whose classes are texts.

    The training split, if there is one, determines the classes. They are in alphabetical order, or
    in the order of their numbers if all are whole numbers.

    Args:
      texts: The class of each image.
      splits: The images of each split.
      where: Returns the place of an image, for errors.

    Raises:
      SourceError: A class is empty, or the training split lacks it.
    """
    if "" in texts:
        raise SourceError(f"{where(texts.index(''))}: the label is empty")
    training = next((rows for name, rows in splits.items() if split_role(name) == "train"), None)
    class_names = in_order(texts if training is None else (texts[row] for row in training))
    label_of = {name: label for label, name in enumerate(class_names)}
    unknown = next((row for row, text in enumerate(texts) if text not in label_of), None)
    if unknown is not None:
        raise SourceError(
            f"{where(unknown)}: the label is {printable(texts[unknown])!r}, which does not "
            f"occur in the training split.{did_you_mean(texts[unknown], class_names)} Correct the "
            "label, or remove the image."
        )
    return class_names, np.array([label_of[text] for text in texts], np.int64)


def check_headers(root: Path, files: Sequence[str], skip_corrupt: bool) -> None:
    """Raise an error for the first unreadable file, or warn about all if they are skipped.

    Raises:
      ImageError: A file cannot be read and `skip_corrupt` is False.
    """

    def problem(name: str) -> str | None:
        try:
            with open_file(root / name, name) as file:
                check_header(file, name)
        except ImageError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(max_workers=min(16, 2 * (os.cpu_count() or 1))) as pool:
        bad = [reason for reason in pool.map(problem, files) if reason]
    report_corrupt(bad, len(files), str(root), skip_corrupt)


def report_corrupt(bad: Sequence[str], count_of_all: int, place: str, skip_corrupt: bool) -> None:
    """Raise an error with the first reason in `bad`, or warn about all if they are skipped.

    Raises:
      ImageError: `bad` is not empty, and `skip_corrupt` is False.
    """
    if not bad:
        return
    count = f"{len(bad)} of {count_of_all:,} files in {place} are corrupt"
    if not skip_corrupt:
        raise ImageError(f"{bad[0]} ({count}.) {CORRUPT_HINT}")
    more = [f"and {len(bad) - _LISTED} more"] if len(bad) > _LISTED else []
    note(
        f"Warning: {count}. Evaluation leaves them out; training replaces each by the next "
        "readable file:" + "".join(f"\n  {line}" for line in [*bad[:_LISTED], *more])
    )
