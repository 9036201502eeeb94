"""A source that reads the images in tar files, in the format of WebDataset."""

import functools
import glob
import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from netzoo.data.files import MAX_BYTES, ImageError, left_out
from netzoo.data.source import Example, SourceError
from netzoo.data.sources.description import described
from netzoo.data.sources.image_files import report_corrupt
from netzoo.data.sources.labels import in_order, label_numbers
from netzoo.data.sources.order import hash_order
from netzoo.data.sources.spec import Spec
from netzoo.data.sources.tar_index import MAX_TAR, Label, read_indices
from netzoo.data.splits import resolve_split, split_aliases
from netzoo.errors import UserError, did_you_mean, note_once, printable
from netzoo.files import open_regular, read_text
from netzoo.paths import user_path

_OPTIONS = ("validation", "test", "label", "classes")
_BRACES = re.compile(r"\{([^{}]*)\}")
_MOST_TARS = 100_000


class WebDatasetSource:
    """Images in tar files, each with a label in a `.cls` or `.json` file of the same name.

    An index of each tar gives random access. A hash of the names determines the order in a split.
    """

    def __init__(self, spec: Spec, split: str, *, skip_corrupt: bool = False):
        """Index the tars, and check the headers of the images in the splits of `split`.

        The place of `spec` is a pattern such as `shards/train-{000..127}.tar`. The options
        `validation` and `test` are the patterns of these splits, relative to the folder of `place`.
        `label` is the key of the label in JSON files, and `classes` a file with one class name in
        each line. `skip_corrupt` warns about unreadable images instead of failing.

        Raises:
          SourceError: No tar matches the pattern, a tar is damaged or compressed, an image has no
            label or an unknown one, or the split is unknown.
          ImageError: An image cannot be read and `skip_corrupt` is False.
        """
        shards = _read(spec)
        lengths = {name: len(rows) for name, rows in shards.splits.items()}
        self.name, self.split = f"webdataset:{spec.place}", split
        self.class_names = shards.class_names
        note_once(f"{self.name}: {described(self.class_names, lengths)}")
        if shards.others:
            note_once(f"{self.name}: {left_out(shards.others)}")
        parts = resolve_split(split, lengths, split_aliases(shards.splits))
        used = dict(parts)
        corrupt = [reason for name in used for reason in shards.corrupt[name]]
        report_corrupt(corrupt, sum(lengths[name] for name in used), self.name, skip_corrupt)
        chosen = [shards.splits[name][i] for name, part in parts for i in part]
        self._samples = [shards.samples[row] for row in chosen]
        self.names = [sample.name for sample in self._samples]
        self.labels = shards.labels[chosen]
        self.multi_label = self.labels.ndim == 2

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Example:
        name, tar, offset, size = self._samples[index]
        try:
            if size > MAX_BYTES:
                raise ImageError(f"Cannot read {printable(name)}: it has {size:,} bytes.")
            with open_regular(tar, MAX_TAR) as file:
                file.seek(offset)
                image = file.read(size)
        except OSError as error:  # with a missing tar, many images are missing
            reason = error.strerror or error
            raise UserError(f"Cannot read {printable(name)} in {tar}: {reason}.") from error
        label = self.labels[index]
        return {"image": image, "label": label if self.multi_label else int(label), "name": name}


def split_sizes(spec: Spec) -> dict[str, Callable[[], int]]:
    """Return, for each split, a function that counts its images.

    Raises:
      SourceError: See `WebDatasetSource`.
    """
    splits = _read(spec).splits.items()
    return {name: functools.partial(len, rows) for name, rows in splits}


class _Stored(NamedTuple):
    """Where an image lies."""

    name: str  # `TAR/NAME`; `TAR` is a name of `_tar_names`
    tar: Path
    offset: int
    size: int


class _Shards(NamedTuple):
    """The samples of all splits."""

    samples: list[_Stored]
    labels: np.ndarray
    class_names: tuple[str, ...]
    splits: Mapping[str, list[int]]  # samples of each split, in hash order
    others: Counter[str]
    corrupt: Mapping[str, list[str]]  # reasons of each split


def _read(spec: Spec) -> _Shards:
    spec.check_options(_OPTIONS)
    tars = {"train": _tars(spec.place, None)}
    folder = tars["train"][0].parent
    for name in ("validation", "test"):
        if pattern := spec.text(name):
            tars[name] = _tars(pattern, folder)
    _check_different(tars)
    names = _tar_names([tar for paths in tars.values() for tar in paths])
    samples: list[_Stored] = []
    found: list[Label] = []
    corrupt: dict[str, list[str]] = {}
    others: Counter[str] = Counter()
    splits: dict[str, list[int]] = {}
    for split, paths in tars.items():
        start, corrupt[split] = len(samples), []
        for tar, index in zip(paths, read_indices(paths, spec.text("label")), strict=True):
            samples += [_Stored(f"{names[tar]}/{s.name}", tar, *s[1:3]) for s in index.samples]
            found += [sample.label for sample in index.samples]
            corrupt[split] += index.corrupt
            others += index.others
        if start == len(samples):
            raise SourceError(f"The tars {paths[0]} ... of the split {split} do not hold images")
        rows = range(start, len(samples))
        splits[split] = sorted(rows, key=lambda row: hash_order(samples[row].name))
    class_names, labels = _labels(found, splits, spec, [sample.name for sample in samples])
    return _Shards(samples, labels, class_names, splits, others, corrupt)


def _check_different(tars: Mapping[str, Sequence[Path]]) -> None:
    """Raise an error for a tar that occurs twice, in one split or in two."""
    seen: dict[Path, str] = {}
    for split, path in ((split, path) for split, paths in tars.items() for path in paths):
        if (other := seen.get(path.resolve())) is not None:
            raise SourceError(
                f"{path} occurs twice, in {other} and in {split}; expected each tar once, because "
                "an image must not be counted twice or be in two splits"
            )
        seen[path.resolve()] = split


def _tar_names(tars: Sequence[Path]) -> dict[Path, str]:
    """Return different names of tars: their paths below the innermost folder that holds all."""
    folder = os.path.commonpath([os.path.abspath(tar.parent) for tar in tars])
    return {tar: Path(os.path.relpath(tar, folder)).as_posix() for tar in tars}


def _tars(pattern: str, folder: Path | None) -> list[Path]:
    """Return the files of a pattern with braces and wildcards, in order.

    Raises:
      SourceError: A file is missing.
    """
    found: list[Path] = []
    for text in expand_braces(pattern):
        path = (folder or Path()) / user_path(text)
        matches = sorted(map(Path, glob.glob(str(path)))) if glob.has_magic(text) else [path]
        if not matches or not matches[0].exists():
            beside = [p.name for p in path.parent.glob("*.tar")] if path.parent.is_dir() else []
            raise SourceError(
                f"{path} is missing; the pattern is {printable(pattern)}."
                f"{did_you_mean(path.name, beside)} Expected uncompressed tar files, such as "
                "webdataset:shards/train-{000..127}.tar"
            )
        found += matches
    return found


def expand_braces(pattern: str) -> list[str]:
    """Return the texts of a pattern: `{000..127}` counts, and `{a,b}` lists, as in a shell.

    Raises:
      SourceError: The pattern stands for too many texts.
    """
    parts = _BRACES.split(pattern)  # text, contents of braces, text, ...
    choices: list[Sequence[str]] = []
    for place, part in enumerate(parts):
        numbers = re.fullmatch(r"(\d+)\.\.(\d+)", part) if place % 2 else None
        if numbers:
            first, last = numbers.groups()
            width = len(first) if first.startswith("0") or len(first) == len(last) else 0
            count = range(int(first), min(int(last), int(first) + _MOST_TARS) + 1)
            choices.append([f"{number:0{width}}" for number in count])
        else:
            choices.append(part.split(",") if place % 2 else [part])
    found = ["".join(texts) for texts in itertools.islice(itertools.product(*choices), _MOST_TARS)]
    if not 0 < len(found) < _MOST_TARS:
        number = f"{len(found):,} or more" if found else "no"
        raise SourceError(
            f"the pattern {printable(pattern)} stands for {number} files; "
            f"expected 1 to {_MOST_TARS:,}"
        )
    return found


def _labels(
    found: list[Label], splits: Mapping[str, list[int]], spec: Spec, names: Sequence[str]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the class names and the labels of all samples; `names` are those of the samples."""
    known, multi_label = _class_names(spec), any(isinstance(label, list) for label in found)
    lists = [label if isinstance(label, list) else [label] for label in found]
    if not known and not multi_label:
        return label_numbers([text for [text] in lists], splits, lambda row: names[row])
    class_names = known or in_order(text for row in splits["train"] for text in lists[row])
    label_of = {name: number for number, name in enumerate(class_names)}
    numbers = [
        [_number(text, label_of, bool(known), names[row]) for text in texts]
        for row, texts in enumerate(lists)
    ]
    if not multi_label:
        return class_names, np.array(numbers, np.int64)[:, 0]
    vectors = np.zeros((len(lists), len(class_names)), np.float32)
    for vector, present in zip(vectors, numbers, strict=True):
        vector[present] = 1
    return class_names, vectors


def _class_names(spec: Spec) -> tuple[str, ...]:
    file = spec.text("classes")
    if file is None:
        return ()
    try:
        names = tuple(
            line.strip()
            for line in read_text(user_path(file)).removeprefix("\ufeff").splitlines()
            if line.strip()
        )
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"Cannot read the class names in {file}: {error}") from error
    if len({*names}) < len(names) or not names:
        raise SourceError(f"{file}: expected different class names, one on each line")
    return names


def _number(text: str, label_of: Mapping[str, int], numbered: bool, where: str) -> int:
    """Return the number of a class from its name or, with `numbered`, its number from 0."""
    if text in label_of:
        return label_of[text]
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else len(label_of)
    if numbered and number < len(label_of):
        return number
    expected = "classes, or a number below it" if numbered else "classes of the training split"
    raise SourceError(
        f"{printable(where)}: the label is {printable(text)!r}; expected one of the "
        f"{len(label_of)} {expected}.{did_you_mean(text, label_of)}"
    )
