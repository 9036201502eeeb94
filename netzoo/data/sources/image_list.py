"""A source that reads a list of images with their labels: a CSV file."""

import csv
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from netzoo.data.files import is_image
from netzoo.data.source import SourceError
from netzoo.data.sources.columns import find_column, label_columns, label_vectors
from netzoo.data.sources.description import described
from netzoo.data.sources.image_files import FileSource, check_headers
from netzoo.data.sources.labels import label_numbers
from netzoo.data.sources.layout import missing_folder
from netzoo.data.sources.order import hash_order
from netzoo.data.sources.spec import Spec
from netzoo.data.splits import resolve_split, split_aliases
from netzoo.errors import note_once, printable
from netzoo.files import read_bytes
from netzoo.paths import user_path

MAX_BYTES = 1 << 29  # of a list
_OPTIONS = ("path", "label", "labels", "split", "root")
_DELIMITERS = (",", ";", "\t")
_LINES = 3  # to show of a list


class CsvSource(FileSource):
    """Images that a CSV file lists: a column of paths, and one or several columns of labels.

    Several columns of zeros and ones make a multi-label source, whose classes are the columns.
    Without a column for the split, all images form one split, `train` (alias `all`). A hash of each
    path determines the order in a split, as in a folder.
    """

    def __init__(self, spec: Spec, split: str, *, skip_corrupt: bool = False):
        """Read the list, and check the header of every file in the splits of `split`.

        Options of `spec` name the columns `path`, `label` or `labels`, and `split`. Columns without
        an option are found by their usual names. Paths are relative to the folder of the list, or
        to `root`. When a process first opens a list, one line on standard error describes it.

        Raises:
          SourceError: The list is missing or damaged, it lacks a column, a label is unknown, an
            image is missing or listed twice, or the split is unknown.
          ImageError: A file is not an image and `skip_corrupt` is False.
        """
        listed = _read(spec)
        lengths = {name: len(rows) for name, rows in listed.splits.items()}
        note_once(
            f"{listed.file}: {described(listed.class_names, lengths)}; columns {listed.columns}"
        )
        parts = resolve_split(split, lengths, split_aliases(listed.splits))
        checked = [n for name in dict(parts) for n in listed.splits[name]]
        _check_present(listed, checked)
        check_headers(listed.root, [listed.names[n] for n in checked], skip_corrupt)
        chosen = [listed.splits[name][i] for name, part in parts for i in part]
        super().__init__(
            *(f"csv:{spec.place}", split, listed.class_names, listed.root),
            [listed.names[n] for n in chosen],
            listed.labels[chosen],
        )


def split_sizes(spec: Spec) -> dict[str, Callable[[], int]]:
    """Return, for each split of a list, a function that counts the split's images.

    Raises:
      SourceError: See `CsvSource`.
    """
    return {name: partial(len, rows) for name, rows in _read(spec).splits.items()}


class _List(NamedTuple):
    """The images of a list. Rows are numbered from 0, without the first line."""

    file: Path
    root: Path
    columns: str  # a description
    names: list[str]  # path of each row
    lines: list[int]  # line of each row in the file
    labels: np.ndarray
    class_names: tuple[str, ...]
    splits: Mapping[str, list[int]]  # rows of each split, in hash order


def _read(spec: Spec) -> _List:
    spec.check_options(_OPTIONS)
    file = user_path(spec.place)
    header, rows, lines = _table(file)
    paths = find_column("path", header, spec, file)
    by_split = find_column("split", header, spec, file, required=False)
    table = dict(zip(header, zip(*rows, strict=True), strict=True))
    names = [name.strip() for name in table[paths]]
    root = user_path(spec.text("root") or file.parent)
    _check_names(file, root, names, lines)
    split_of = [name.strip() for name in table[by_split]] if by_split else ["train"] * len(rows)
    if "" in split_of:
        raise SourceError(f"{file}, line {lines[split_of.index('')]}: {by_split} is empty")
    splits: dict[str, list[int]] = {name: [] for name in split_of}
    _check_splits(file, splits)
    for row in sorted(range(len(rows)), key=lambda row: hash_order(names[row])):
        splits[split_of[row]].append(row)
    several = label_columns(table, spec, file, {paths, by_split})
    if several:
        class_names, labels = several, label_vectors(table, several, file, lines)
    else:
        label = find_column("label", header, spec, file)
        texts = [text.strip() for text in table[label]]
        class_names, labels = label_numbers(texts, splits, lambda row: f"{file}, line {lines[row]}")
    if not root.is_dir():
        raise missing_folder(root, "the folder of the paths in the list")
    label_text = f"{len(several)} labels" if several else label
    columns = ", ".join(filter(None, [paths, label_text, by_split]))
    return _List(file, root, columns, names, lines, labels, tuple(class_names), splits)


def _table(file: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Return the columns of a CSV file, its rows, and their numbers of lines."""
    try:
        text = read_bytes(file, MAX_BYTES).decode("utf-8-sig")
        first = text.partition("\n")[0]
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=first.count), strict=True
        )
        header = [name.strip() for name in next(reader, [])]
        numbered = [(row, reader.line_num) for row in reader if row]
    except OSError as error:
        raise SourceError(f"Cannot read the list {file}: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{file} is not a CSV file in UTF-8: {printable(str(error))}") from error
    if not header:
        raise SourceError(
            f"The first line of {file} is empty; expected the names of the columns, such as "
            "path,label"
        )
    if len({*header}) < len(header) or not all(header):
        raise SourceError(
            f"The first line of {file} names the columns {printable(', '.join(header))}; expected "
            "different names that are not empty"
        )
    if any(is_image(Path(name)) for name in header):
        raise SourceError(
            f"The first line of {file} is {printable(first.strip())}; expected the names of the "
            "columns, such as path,label"
        )
    for row, line in numbered:
        if len(row) != len(header):
            raise SourceError(
                f"{file}, line {line}: it has {len(row)} values; expected {len(header)}, one for "
                "each column of the first line"
            )
    if not numbered:
        raise SourceError(f"{file} does not list images; expected lines after {printable(first)!r}")
    return header, [row for row, _ in numbered], [line for _, line in numbered]


def _check_names(file: Path, root: Path, names: Sequence[str], lines: Sequence[int]) -> None:
    """Raise an error for an empty path, or for an image that occurs twice.

    Several paths may name one image, such as `a.jpg`, `./a.jpg` and the absolute path.
    """
    seen: dict[str, int] = {}
    for name, line in zip(names, lines, strict=True):
        if not name:
            raise SourceError(f"{file}, line {line}: the path is empty")
        image = os.path.normpath(os.path.join(root, name))
        if image in seen:
            raise SourceError(
                f"{file} lists {printable(name)} in line {seen[image]} and again in line {line}. "
                "Remove one of them. Images with several labels need a column for each label."
            )
        seen[image] = line


def _check_splits(file: Path, splits: Iterable[str]) -> None:
    """Raise an error for two names of a split that differ in their case only."""
    seen: dict[str, str] = {}
    for name in splits:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise SourceError(
                f"{file} has the splits {printable(other)} and {printable(name)}; expected one "
                "spelling of each split"
            )


def _check_present(listed: _List, rows: Sequence[int]) -> None:
    """Raise an error for missing files; usually the paths are relative to another folder."""
    missing = [row for row in rows if not os.path.exists(listed.root / listed.names[row])]
    if missing:
        places = ", ".join(
            f"{printable(listed.names[row])} (line {listed.lines[row]})" for row in missing[:_LINES]
        )
        raise SourceError(
            f"{len(missing):,} of {len(rows):,} images in {listed.file} are missing: {places}. "
            f"Paths are relative to {listed.root}; for another folder, add the option root=FOLDER."
        )
