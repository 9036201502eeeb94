"""Finds the columns of a table of images by options or by their usual names."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from netzoo.data.source import SourceError
from netzoo.data.sources.spec import Spec
from netzoo.errors import did_you_mean, printable

# The names are compared without case, spaces, dashes and underscores.
USUAL = {
    "path": ("path", "file", "filename", "filepath", "image", "imagepath", "imagefile", "img"),
    "image": ("image", "img", "picture", "jpg", "png", "pixels"),
    "label": ("label", "class", "classname", "category", "target", "labels"),
    "split": ("split", "subset", "partition", "set"),
}
_ZERO_AND_ONE = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0}


def find_column(
    role: str, columns: Sequence[str], spec: Spec, place: object, *, required: bool = True
) -> str:
    """Return the column that the option `role` names, or the first with a usual name.

    `place` names the table in errors. Without `required`, a missing column is "".

    Raises:
      SourceError: The column is missing.
    """
    named = spec.text(role)
    if named is not None:
        _check_columns([named], columns, place)
        return named
    plain = {_plain(column): column for column in reversed(columns)}
    found = next((plain[name] for name in USUAL[role] if name in plain), "")
    if required and not found:
        raise SourceError(
            f"{place} has no column with a usual name for the {role} ({', '.join(USUAL[role])}). "
            f"Its columns are {_listed(columns)}. Name one of them: "
            f"{spec.kind}:{spec.place}?{role}=COLUMN"
        )
    return found


def label_columns(
    table: Mapping[str, Sequence[str]], spec: Spec, place: object, others: set[str]
) -> tuple[str, ...]:
    """Return the columns that are classes of multi-label data; empty if one column has the label.

    The option `labels` names the columns. Without this option and without a column for a single
    label, the classes are all columns of zeros and ones outside `others`, if there are at least
    two.
    """
    if named := spec.texts("labels"):
        if "label" in spec.options:
            raise SourceError(f"{place}: expected one of the options label and labels, got both")
        _check_columns(named, [*table], place)
        return named
    free = [column for column in table if column not in others]
    if "label" in spec.options or find_column("label", free, spec, place, required=False):
        return ()
    binary = [c for c in free if {value.strip() for value in table[c]} <= _ZERO_AND_ONE.keys()]
    return tuple(binary) if len(binary) >= 2 else ()


def label_vectors(
    table: Mapping[str, Sequence[str]], columns: Sequence[str], file: Path, lines: Sequence[int]
) -> np.ndarray:
    """Return the labels of multi-label data, float32 `[N, classes]`.

    Raises:
      SourceError: A value is neither 0 nor 1.
    """
    labels = np.zeros((len(lines), len(columns)), np.float32)
    for number, column in enumerate(columns):
        for row, text in enumerate(table[column]):
            value = _ZERO_AND_ONE.get(text.strip())
            if value is None:
                raise SourceError(
                    f"{file}, line {lines[row]}: {printable(column)} is {printable(text)!r}; "
                    "expected 0 or 1, because several columns of labels mean that an image may "
                    "have any number of classes"
                )
            labels[row, number] = value
    return labels


def _check_columns(named: Iterable[str], columns: Sequence[str], place: object) -> None:
    for name in named:
        if name not in columns:
            raise SourceError(
                f"{place} has no column {printable(name)!r}.{did_you_mean(name, columns)} Its "
                f"columns are {_listed(columns)}."
            )


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character not in " -_")


def _listed(columns: Sequence[str]) -> str:
    more = [f"and {len(columns) - 10} more"] if len(columns) > 10 else []
    return ", ".join([*map(printable, columns[:10]), *more])
