"""A source whose images are files of this machine, and the check of their headers."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from netzoo.data.decode import check_header
from netzoo.data.files import ImageError, open_file, read_file
from netzoo.data.source import CORRUPT_HINT, Example
from netzoo.errors import note

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
