"""A source that reads a folder of class folders."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from netzoo.buckets import is_in_bucket
from netzoo.data.files import images_below, left_out
from netzoo.data.mirror import local_folder
from netzoo.data.source import SourceError
from netzoo.data.sources.description import described, described_classes
from netzoo.data.sources.image_files import FileSource, check_headers
from netzoo.data.sources.layout import Layout, other_files, read_layout
from netzoo.data.sources.order import hash_order
from netzoo.data.sources.spec import Spec
from netzoo.data.splits import resolve_split, split_aliases, split_role
from netzoo.errors import note_once

_OPTIONS = ("nested",)


class FolderSource(FileSource):
    """Images in one sub-folder per class, optionally inside split folders such as `train/`.

    Without split folders, all images form one split, `train` (alias `all`). A hash of each file's
    path below the folder determines the order in a split, as in TFDS. This order mixes the classes
    in every slice, and adding a file does not reorder the others.
    """

    def __init__(self, spec: Spec, split: str, *, skip_corrupt: bool = False):
        """List the folder, and check the header of every file in the splits of `split`.

        The place of `spec` may be an address such as `gs://BUCKET/FOLDER`; its files are copied to
        this machine. With the option `nested`, every folder that holds images is a class; see
        `netzoo.data.sources.layout`. When a process first opens a folder, one line on standard
        error describes the folder. `split` is a TFDS split expression. `skip_corrupt` warns about
        unreadable files instead of failing. They keep their positions, so that only the names
        determine the order.

        Raises:
          BucketError: The folder is in a bucket that cannot be read.
          SourceError: The folder is missing or its layout is ambiguous; see
            `netzoo.data.sources.layout`. Or the split is unknown, or a class is empty or links back
            to the folder.
          ImageError: A file cannot be read and `skip_corrupt` is False; the message names the
            first.
        """
        root, layout = _read(spec)
        others = other_files(root, layout)
        files = {name: _files(root, layout, name, others) for name in layout.splits}
        lengths = {name: len(listed) for name, listed in files.items()}
        where = spec.place if is_in_bucket(spec.place) else root
        note_once(f"{where}: {_description(root, layout, lengths)}")
        if others:
            note_once(f"{root}: {left_out(others)}")
        parts = resolve_split(split, lengths, split_aliases(layout.splits))
        checked = [name for split_name in dict(parts) for name, _ in files[split_name]]
        check_headers(root, checked, skip_corrupt)
        chosen = [files[name][i] for name, part in parts for i in part]
        label_of = {name: label for label, name in enumerate(layout.class_names)}
        labels = [label_of[class_name] for _, class_name in chosen]
        names = [name for name, _ in chosen]
        super().__init__(f"folder:{spec.place}", split, layout.class_names, root, names, labels)


def split_sizes(spec: Spec) -> dict[str, Callable[[], int]]:
    """Return, for each split of a folder, a function that counts the split's images.

    Raises:
      SourceError: See `FolderSource`.
    """
    root, layout = _read(spec)

    def count(name: str) -> int:
        return len(_files(root, layout, name, Counter()))

    return {name: partial(count, name) for name in layout.splits}


def _read(spec: Spec) -> tuple[Path, Layout]:
    spec.check_options(_OPTIONS)
    root = local_folder(spec.place)
    return root, read_layout(root, nested=spec.switch("nested"))


def _description(root: Path, layout: Layout, lengths: Mapping[str, int]) -> str:
    """Return a description of the layout: the classes, and the splits with their roles."""
    if root in layout.splits.values():
        classes = described_classes(layout.class_names)
        return f"{classes}; {sum(lengths.values()):,} images without split folders"
    roles = {f"{split_role(name)} {name}/": count for name, count in lengths.items()}
    return described(layout.class_names, roles)


def _files(
    root: Path, layout: Layout, split_name: str, others: Counter[str]
) -> list[tuple[str, str]]:
    """Return paths below `root` and their classes, in hash order; count `others`."""
    split, files = layout.splits[split_name], []
    for class_name in layout.folders[split_name]:
        if root.resolve().is_relative_to((split / class_name).resolve()):
            raise SourceError(f"The class folder {split / class_name} links back to {root}.")
        images, no_images = images_below(split / class_name)
        if not images:
            reason = f" ({left_out(no_images)})" if no_images else ""
            raise SourceError(
                f"The class folder {split / class_name} holds no images{reason}; remove it."
            )
        files += [(path.relative_to(root).as_posix(), class_name) for path in images]
        others += no_images
    return sorted(files, key=lambda file: hash_order(file[0]))
