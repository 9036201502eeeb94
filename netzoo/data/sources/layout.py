"""Tells split folders from class folders.

A split folder holds class folders, and a class folder holds images. Their names and contents must
agree. Otherwise the layout is refused, because training on a wrong guess would end without error.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from netzoo.data.files import holds_images, is_image, is_litter
from netzoo.data.source import SourceError
from netzoo.data.splits import SPLIT_WORDS, split_role
from netzoo.errors import did_you_mean, printable

# Names of folders that hold images or annotations of all classes.
_NOT_CLASSES = {"images", "img", "imgs", "jpegimages", "labels", "annotations", "masks"}
_LISTED = 5


class Layout(NamedTuple):
    """The class folders of each split."""

    splits: dict[str, Path]  # folder of class folders by split; without splits, "train" is the root
    class_names: tuple[str, ...]  # sorted; those of the training split if there is one


def read_layout(root: Path) -> Layout:
    """Determine the splits and the classes of a folder.

    Raises:
      SourceError: The folder does not exist, or its layout is ambiguous; the message states what
        was found and what to do.
    """
    if not root.is_dir():
        raise missing_folder(root, "one sub-folder per class")
    folders = class_folders(root)
    splits = [
        name
        for role in SPLIT_WORDS
        for name in folders
        if split_role(name) == role and _holds_classes(root / name)
    ]
    if splits:
        _check_splits(root, splits, [name for name in folders if name not in splits])
    else:
        _check_classes(root, folders)
    paths = {name: root / name for name in splits} or {"train": root}
    classes = {name: class_folders(path) for name, path in paths.items()}
    for name, inner in classes.items():
        _check_names(paths[name], inner)
    known = next((c for name, c in classes.items() if split_role(name) == "train"), None)
    for name, inner in classes.items():
        if known and (new := sorted({*inner} - {*known})):
            raise SourceError(
                f"{_folder(paths[name])} holds {_list(new)}, and the training split has no such "
                f"class.{did_you_mean(new[0], known)} Rename these folders to classes of the "
                f"training split ({_list(known)}), or remove them."
            )
    return Layout(paths, tuple(sorted(known or {c for inner in classes.values() for c in inner})))


def class_folders(split: Path) -> list[str]:
    """Return the sorted names of the folders in a folder, except those that programs leave."""
    return sorted(e.name for e in os.scandir(split) if e.is_dir() and not is_litter(e.name))


def missing_folder(path: Path, expected: str) -> SourceError:
    """Return the error for a folder that does not exist, with similar names beside it."""
    where = path.absolute()
    if path.exists():
        return SourceError(f"{where} is not a folder; expected {expected}.")
    while not where.parent.is_dir():
        where = where.parent
    names = [entry.name for entry in os.scandir(where.parent) if entry.is_dir()]
    return SourceError(
        f"{path} is not a folder: {where.parent} holds no {where.name!r}."
        f"{did_you_mean(where.name, names)} Expected {expected}."
    )


def _check_splits(root: Path, splits: list[str], others: list[str]) -> None:
    """Raise an error unless every folder with images is a split of its own."""
    understood = ", ".join(f"{name}/ ({split_role(name)})" for name in splits)
    for role, words in SPLIT_WORDS.items():
        if len(same := [name for name in splits if split_role(name) == role]) > 1:
            raise SourceError(
                f"{root} has several folders for the split {role}: {_list(same)}. Merge them, or "
                f"rename one of them. Names of this split are {', '.join(words)}."
            )
    for name in others:
        if split_role(name):
            raise SourceError(
                f"{_folder(root / name)} holds no class folders with images. Expected "
                f"{root / name}/CLASS/IMAGE, as in the other splits: {understood}. Move "
                f"{root / name} elsewhere, or pass a single split, such as "
                f"folder:{root / splits[0]}."
            )
        if holds_images(root / name):
            raise SourceError(
                f"{root} has the splits {understood}, and {_folder(root / name)} also contains "
                f"images. If it is a split, name it {' or '.join(SPLIT_WORDS)}. If the folders of "
                f"{root} are classes, move them all into {root}/train. Otherwise move it elsewhere."
            )


def _check_classes(root: Path, folders: list[str]) -> None:
    """Raise an error unless the folders are class folders."""
    if not folders:
        here = any(is_image(Path(e.name)) for e in os.scandir(root))
        reason = " and holds images itself" if here else ""
        hint = f" If {root} is one of the classes, pass folder:{root.parent}." if here else ""
        raise SourceError(
            f"{root} has no class folders{reason}. Expected {root}/CLASS/IMAGE, or "
            f"{root}/train/CLASS/IMAGE beside test/ or val/.{hint}"
        )
    if odd := [name for name in folders if split_role(name)]:
        raise SourceError(
            f"{_list(odd)} in {root} can be a class, or a split without class folders. Expected "
            f"{root / odd[0]}/CLASS/IMAGE for a split. If it is a class, move all class folders "
            f"into {root}/train."
        )
    if not any(is_image(Path(e.name)) for name in folders for e in os.scandir(root / name)) and (
        nested := next((name for name in folders if _holds_classes(root / name)), None)
    ):
        raise SourceError(
            f"The folders of {root} ({_list(folders)}) hold folders, and no images themselves. To "
            f"use the folders inside ({_list(class_folders(root / nested))}), give "
            f"folder:{root / nested}. If {_list(folders)} are classes, move them into {root}/train."
        )


def _check_names(split: Path, class_names: list[str]) -> None:
    """Raise an error for class folders with names that no class has."""
    if odd := [name for name in class_names if not name.isprintable()]:
        raise SourceError(
            f"The class folder {printable(odd[0])} in {split} has a name that is not printable "
            "text; rename it."
        )
    if odd := [name for name in class_names if name.lower() in _NOT_CLASSES]:
        inner = split / odd[0]
        hint = f" Did you mean folder:{inner}?" if _holds_classes(inner) else ""
        raise SourceError(
            f"{split} holds {_list(odd)}; expected one folder per class, {split}/CLASS/IMAGE. "
            f"netzoo does not read annotations.{hint}"
        )
    if len(class_names) == 1 and _holds_classes(inner := split / class_names[0]):
        raise SourceError(
            f"{split} holds a single folder, {_list(class_names)}, which holds folders: "
            f"{_list(class_folders(inner))}. Did you mean folder:{inner}?"
        )


def _holds_classes(folder: Path) -> bool:
    return any(holds_images(folder / name) for name in class_folders(folder))


def _folder(path: Path) -> str:
    return f"{printable(str(path))}/"


def _list(names: Iterable[str]) -> str:
    names = sorted(names)
    more = [f"and {len(names) - _LISTED} more"] if len(names) > _LISTED else []
    return ", ".join([*map(printable, names[:_LISTED]), *more])
