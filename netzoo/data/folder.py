"""A folder of class folders as a source."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from netzoo.data.base import Example, SourceError, resolve_split
from netzoo.data.decode import ImageError, check_header

_SPLIT_FOLDERS = ("train", "test", "val", "validation")
_LITTER = {"thumbs.db", "desktop.ini"}
_LISTED = 5


class FolderSource:
    """Images in one sub-folder per class, under `train/`, `test/`, `val/` where there are splits.

    Without split folders everything is one split, `train` (also called `all`). Within a split
    the order is that of a hash of each file's path below the folder, as in TFDS: it mixes the
    classes, so that any slice holds all of them, and an added file leaves the others' order.
    """

    def __init__(self, path: str, split: str, *, skip_corrupt: bool = False):
        """Lists the folder and checks the header of every file of the split.

        Args:
            path: the folder.
            split: a TFDS split expression over the splits above.
            skip_corrupt: leave unreadable files out of their split, with a warning.

        Raises:
            SourceError: on a missing folder, no classes, an empty class or an unknown split.
            ImageError: naming the first unreadable file, if `skip_corrupt` is off.
        """
        self._root = Path(path).expanduser()
        self.name = f"folder:{path}"
        self.split = split
        if not self._root.is_dir():
            raise SourceError(f"{self._root} is not a folder; expected one sub-folder per class.")
        splits = _split_folders(self._root)
        self.class_names = tuple(sorted({c for s in splits.values() for c in _folders(s)}))
        if not self.class_names:
            raise SourceError(
                f"{self._root} has no class folders. Expected {self._root}/CLASS/IMAGE, or "
                f"{self._root}/train/CLASS/IMAGE beside test/ or val/."
            )
        files = {name: _files(self._root, folder) for name, folder in splits.items()}
        # All files are checked before slicing: what is left out must not depend on the slice.
        bad = _check(self._root, [f for listed in files.values() for f in listed], skip_corrupt)
        files = {name: [f for f in listed if f not in bad] for name, listed in files.items()}
        lengths = {name: len(listed) for name, listed in files.items()}
        parts = resolve_split(split, lengths, _aliases(splits))
        self._files = [files[name][i] for name, part in parts for i in part]
        self._labels = {name: label for label, name in enumerate(self.class_names)}
        self._depth = 1 if splits["train"] != self._root else 0

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Example:
        name = self._files[index]
        label = self._labels[name.split("/")[self._depth]]
        return {"image": (self._root / name).read_bytes(), "label": label, "name": name}


def _split_folders(root: Path) -> dict[str, Path]:
    # A class may be called "train": only a folder that holds folders is a split.
    found = {name: root / name for name in _SPLIT_FOLDERS if _folders(root / name)}
    return found if "train" in found else {"train": root}


def _aliases(splits: dict[str, Path]) -> dict[str, str]:
    if len(splits) == 1:
        return {"all": "train"}
    if "val" in splits and "validation" not in splits:
        return {"validation": "val"}
    return {"val": "validation"} if "val" not in splits and "validation" in splits else {}


def _folders(path: Path) -> list[str]:
    if not path.is_dir():
        return []
    return [e.name for e in os.scandir(path) if e.is_dir() and not e.name.startswith(".")]


def _files(root: Path, split: Path) -> list[str]:
    """Returns paths below `root`, with forward slashes, in hash order."""
    files = []
    for class_name in sorted(_folders(split)):
        found = [
            path.relative_to(root).as_posix()
            for path in (split / class_name).rglob("*")
            if path.is_file() and not _is_hidden(path.relative_to(root))
        ]
        if not found:
            raise SourceError(f"The class folder {split / class_name} holds no images; remove it.")
        files += found
    return sorted(files, key=lambda name: hashlib.sha256(name.encode()).digest())


def _is_hidden(path: Path) -> bool:
    return path.name.lower() in _LITTER or any(part.startswith(".") for part in path.parts)


def _check(root: Path, files: list[str], skip_corrupt: bool) -> set[str]:
    """Returns the unreadable files; raises for the first of them unless they may be skipped."""

    def problem(name: str) -> str | None:
        try:
            check_header(str(root / name), name, thorough=skip_corrupt)
        except ImageError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(max_workers=min(16, 2 * (os.cpu_count() or 1))) as pool:
        bad = {n: p for n, p in zip(files, pool.map(problem, files), strict=True) if p}
    if bad and not skip_corrupt:
        raise ImageError(
            f"{next(iter(bad.values()))} ({len(bad)} such of {len(files):,} files in {root}.) "
            "Remove them, or leave them out with skip_corrupt=True."
        )
    if bad:
        listed = "\n".join(f"  {reason}" for reason in list(bad.values())[:_LISTED])
        more = f"\n  and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
        Console(stderr=True).print(
            f"Warning: left out {len(bad)} of {len(files):,} files in {root}:\n{listed}{more}",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    return set(bad)
