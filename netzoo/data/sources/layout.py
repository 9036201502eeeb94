"""Tells split folders from class folders.

A split folder holds class folders, and a class folder holds images. Their names and contents must
agree. Otherwise the layout is refused, because training on a wrong guess would end without error.

Class folders are the folders of a split or, if they are nested, all folders with images, at any
depth. The class of `animals/cat/1.jpg` is then `animals/cat`.
"""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from netzoo.data.files import holds_images, images_below, is_image, is_litter
from netzoo.data.source import SourceError
from netzoo.data.splits import SPLIT_WORDS, split_role
from netzoo.errors import did_you_mean, printable

# Names of folders that hold images or annotations of all classes.
_NOT_CLASSES = {"images", "img", "imgs", "jpegimages", "labels", "annotations", "masks"}
_LISTED = 5


class Layout(NamedTuple):
    """The class folders of each split."""

    splits: dict[str, Path]  # folder of class folders by split; without splits, "train" is the root
    folders: dict[str, list[str]]  # sorted class folders by split, relative to the split's folder
    class_names: tuple[str, ...]  # sorted; those of the training split if there is one


def read_layout(root: Path, *, nested: bool = False) -> Layout:
    """Determine the splits and the classes of a folder.

    With `nested`, every folder with images is a class.

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
        _check_classes(root, folders, nested)
    paths = {name: root / name for name in splits} or {"train": root}
    find = nested_folders if nested else class_folders
    classes = {name: find(path) for name, path in paths.items()}
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
    class_names = sorted(known or {c for inner in classes.values() for c in inner})
    return Layout(paths, classes, tuple(class_names))


def class_folders(split: Path) -> list[str]:
    """Return the sorted names of the folders in a folder, except those that programs leave."""
    return sorted(e.name for e in os.scandir(split) if e.is_dir() and not is_litter(e.name))


def nested_folders(split: Path) -> list[str]:
    """Return the sorted paths, relative to a folder, of all folders below it that hold images.

    Raises:
      SourceError: Images lie beside class folders.
    """
    found = []
    for place, folders, files in os.walk(split):
        folders[:] = [name for name in folders if not is_litter(name)]
        if Path(place) != split and any(is_image(Path(name)) for name in files):
            found.append(Path(place).relative_to(split))
    for folder in found:
        if inner := next((other for other in found if folder in other.parents), None):
            raise SourceError(
                f"{_folder(split / folder)} holds images, and so does the folder "
                f"{printable(str(inner))} inside it. Expected nested classes with images in the "
                "innermost folders only. Move the images, or omit the option nested."
            )
    return sorted(folder.as_posix() for folder in found)


def other_files(root: Path, layout: Layout) -> Counter[str]:
    """Return the numbers of files outside the class folders by kind, as `images_below` does."""
    found: Counter[str] = Counter()
    outer = {
        layout.splits[split] / parent
        for split, folders in layout.folders.items()
        for folder in folders
        for parent in Path(folder).parents
    }
    for folder in {root, *outer}:
        for entry in os.scandir(folder):
            if entry.is_file():
                hidden = is_litter(entry.name)
                suffix = Path(entry.name).suffix.lower() or "without extension"
                found["hidden" if hidden else suffix] += 1
            elif is_litter(entry.name):
                images, others = images_below(Path(entry.path))
                found["hidden"] += len(images) + others.total()
    return found


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


def _check_classes(root: Path, folders: list[str], nested: bool) -> None:
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
    if nested or any(is_image(Path(e.name)) for name in folders for e in os.scandir(root / name)):
        return
    if outer := next((name for name in folders if _holds_classes(root / name)), None):
        raise SourceError(
            f"The folders of {root} ({_list(folders)}) hold folders, and no images themselves. To "
            f"use the folders inside ({_list(class_folders(root / outer))}), give "
            f"folder:{root / outer}. If {_list(folders)} are classes, move them into {root}/train. "
            f"If every folder with images is a class, such as {outer}/"
            f"{class_folders(root / outer)[0]}, give folder:{root}?nested=yes."
        )


def _check_names(split: Path, class_names: list[str]) -> None:
    """Raise an error for class folders with names that no class has."""
    if odd := [name for name in class_names if name != printable(name)]:
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
