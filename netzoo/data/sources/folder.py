"""A source that reads a folder of class folders."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from netzoo.buckets import is_in_bucket
from netzoo.data.decode import check_header
from netzoo.data.files import ImageError, images_below, left_out, open_file, read_file
from netzoo.data.mirror import local_folder
from netzoo.data.source import CORRUPT_HINT, Example, SourceError
from netzoo.data.sources.layout import class_folders, read_layout
from netzoo.data.splits import resolve_split, split_aliases, split_role
from netzoo.errors import note, note_once

_LISTED = 5


class FolderSource:
    """Images in one sub-folder per class, optionally inside split folders such as `train/`.

    Without split folders, all images form one split, `train` (alias `all`). A hash of each file's
    path below the folder determines the order in a split, as in TFDS. This order mixes the classes
    in every slice, and adding a file does not reorder the others.
    """

    def __init__(self, path: str, split: str, *, skip_corrupt: bool = False):
        """List the folder, and check the header of every file in the splits of `split`.

        `path` may be an address such as `gs://BUCKET/FOLDER`; its files are copied to this machine.
        When a process first opens a folder, one line on standard error describes the folder.
        `split` is a TFDS split expression. `skip_corrupt` warns about unreadable files instead of
        failing. They keep their positions, so that only the names determine the order.

        Raises:
          BucketError: The folder is in a bucket that cannot be read.
          SourceError: The folder is missing or its layout is ambiguous; see
            `netzoo.data.sources.layout`. Or the split is unknown, or a class is empty or links back
            to the folder.
          ImageError: A file cannot be read and `skip_corrupt` is False; the message names the
            first.
        """
        self._root = local_folder(path)
        self.name = f"folder:{path}"
        self.split = split
        splits, self.class_names = read_layout(self._root)
        others: Counter[str] = Counter()
        files = {name: _files(self._root, folder, others) for name, folder in splits.items()}
        lengths = {name: len(listed) for name, listed in files.items()}
        where = path if is_in_bucket(path) else self._root
        note_once(f"{where}: {_description(self._root, self.class_names, lengths, splits)}")
        if others:
            note_once(f"{self._root}: {left_out(others)}")
        parts = resolve_split(split, lengths, split_aliases(splits))
        listed = [name for split_name in dict(parts) for name in files[split_name]]
        _check(self._root, listed, skip_corrupt)
        self.names = [files[name][i] for name, part in parts for i in part]
        self._labels = {name: label for label, name in enumerate(self.class_names)}
        self._depth = int(self._root not in splits.values())

    def __len__(self) -> int:
        return len(self.names)

    @property
    def labels(self) -> list[int]:
        """The labels of all examples in order, from the names of their folders."""
        return list(map(self._label, self.names))

    def _label(self, name: str) -> int:
        return self._labels[name.split("/")[self._depth]]

    def __getitem__(self, index: int) -> Example:
        name = self.names[index]
        image = read_file(self._root / name, name)
        return {"image": image, "label": self._label(name), "name": name}


def split_sizes(path: str) -> dict[str, Callable[[], int]]:
    """Return, for each split of a folder, a function that counts the split's images.

    Raises:
      SourceError: See `FolderSource`.
    """
    root = local_folder(path)

    def count(split: Path) -> int:
        return len(_files(root, split, Counter()))

    return {name: partial(count, split) for name, split in read_layout(root).splits.items()}


def _description(
    root: Path, class_names: Sequence[str], lengths: Mapping[str, int], splits: Mapping[str, Path]
) -> str:
    """Return a description of the layout: the classes, and the splits with their roles."""
    names = [*class_names[:_LISTED], *(["..."] if len(class_names) > _LISTED else [])]
    parts = [f"{split_role(name)} {name}/ ({n:,} images)" for name, n in lengths.items()]
    if root in splits.values():
        parts = [f"{sum(lengths.values()):,} images without split folders"]
    return f"{len(class_names)} classes ({', '.join(names)}); {', '.join(parts)}"


def _files(root: Path, split: Path, others: Counter[str]) -> list[str]:
    """Return paths below `root`, with forward slashes, in hash order; count `others`."""
    files = []
    for class_name in class_folders(split):
        if root.resolve().is_relative_to((split / class_name).resolve()):
            raise SourceError(f"The class folder {split / class_name} links back to {root}.")
        images, no_images = images_below(split / class_name)
        if not images:
            reason = f" ({left_out(no_images)})" if no_images else ""
            raise SourceError(
                f"The class folder {split / class_name} holds no images{reason}; remove it."
            )
        files += [path.relative_to(root).as_posix() for path in images]
        others += no_images
    return sorted(files, key=lambda name: hashlib.sha256(os.fsencode(name)).digest())


def _check(root: Path, files: list[str], skip_corrupt: bool) -> None:
    """Raise an error for the first unreadable file, or warn about all if they are skipped."""

    def problem(name: str) -> str | None:
        try:
            with open_file(root / name, name) as file:
                check_header(file, name)
        except ImageError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(max_workers=min(16, 2 * (os.cpu_count() or 1))) as pool:
        bad = [reason for reason in pool.map(problem, files) if reason]
    if not bad:
        return
    count = f"{len(bad)} of {len(files):,} files in {root} are corrupt"
    if not skip_corrupt:
        raise ImageError(f"{bad[0]} ({count}.) {CORRUPT_HINT}")
    more = [f"and {len(bad) - _LISTED} more"] if len(bad) > _LISTED else []
    note(
        f"Warning: {count}. Evaluation leaves them out; training replaces each by the next "
        "readable file:" + "".join(f"\n  {line}" for line in bad[:_LISTED] + more)
    )
