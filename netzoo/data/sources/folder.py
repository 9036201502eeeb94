"""A source that reads a folder of class folders."""

import hashlib
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from netzoo.data.decode import check_header
from netzoo.data.files import (
    ImageError,
    images_below,
    is_litter,
    left_out,
    open_file,
    read_file,
)
from netzoo.data.source import CORRUPT_HINT, Example, SourceError, warn
from netzoo.data.splits import VALIDATION_NAMES, resolve_split, validation_aliases
from netzoo.errors import note_once, printable

_SPLIT_FOLDERS = ("train", "test", *VALIDATION_NAMES)
_LISTED = 5


class FolderSource:
    """Images in one sub-folder per class, optionally inside `train/`, `test/` and `val/`.

    Without split folders, all images form one split, `train` (alias `all`). A hash of each file's
    path below the folder determines the order in a split, as in TFDS. This order mixes the classes
    in every slice, and adding a file does not reorder the others.
    """

    def __init__(self, path: str, split: str, *, skip_corrupt: bool = False):
        """List the folder and check the header of every file.

        `split` is a TFDS split expression. `skip_corrupt` warns about unreadable files instead of
        failing. They keep their positions, so that only the names determine the order.

        Raises:
          SourceError: The folder is missing or has no classes; the split is unknown; or a class is
            empty, links back to the folder, or has a name that is not text.
          ImageError: A file cannot be read and `skip_corrupt` is False; the message names the
            first.
        """
        self._root = Path(path).expanduser()
        self.name = f"folder:{path}"
        self.split = split
        if not self._root.is_dir():
            raise SourceError(f"{self._root} is not a folder; expected one sub-folder per class.")
        splits = split_folders(self._root)
        self.class_names = tuple(sorted({c for s in splits.values() for c in _folders(s)}))
        if not self.class_names:
            raise SourceError(
                f"{self._root} has no class folders. Expected {self._root}/CLASS/IMAGE, or "
                f"{self._root}/train/CLASS/IMAGE beside test/ or val/."
            )
        if odd := [name for name in self.class_names if not name.isprintable()]:
            raise SourceError(
                f"The class folder {printable(odd[0])} in {self._root} has a name that is not "
                "printable text; rename it."
            )
        others: Counter[str] = Counter()
        files = {name: _files(self._root, folder, others) for name, folder in splits.items()}
        if others:
            note_once(f"{self._root}: {left_out(others)}")
        _check(self._root, [f for listed in files.values() for f in listed], skip_corrupt)
        lengths = {name: len(listed) for name, listed in files.items()}
        aliases = {"all": "train"} if len(splits) == 1 else validation_aliases(splits)
        parts = resolve_split(split, lengths, aliases)
        self._files = [files[name][i] for name, part in parts for i in part]
        self._labels = {name: label for label, name in enumerate(self.class_names)}
        self._depth = int(splits["train"] != self._root)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Example:
        name = self._files[index]
        label = self._labels[name.split("/")[self._depth]]
        return {"image": read_file(self._root / name, name), "label": label, "name": name}


def split_folders(root: Path) -> dict[str, Path]:
    """Return the split folders by name; without any, `root` is the folder of `train`."""
    # A class may be named "train": only a folder that contains folders is a split.
    splits = {name: root / name for name in _SPLIT_FOLDERS if _folders(root / name)}
    return splits if "train" in splits else {"train": root}


def _folders(path: Path) -> list[str]:
    if not path.is_dir():
        return []
    return [e.name for e in os.scandir(path) if e.is_dir() and not is_litter(e.name)]


def _files(root: Path, split: Path, others: Counter[str]) -> list[str]:
    """Return paths below `root`, with forward slashes, in hash order; count `others`."""
    files = []
    for class_name in sorted(_folders(split)):
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
    warn(
        f"Warning: {count}. Evaluation leaves them out, and training takes the next sound file "
        "instead:" + "".join(f"\n  {line}" for line in bad[:_LISTED] + more)
    )
