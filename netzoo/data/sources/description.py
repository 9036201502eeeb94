"""The line that describes a source when a process first opens the source."""

from collections.abc import Mapping, Sequence

from netzoo.errors import printable

_LISTED = 5


def described(class_names: Sequence[str], lengths: Mapping[str, int]) -> str:
    """Return a description of a source: its classes, and its splits with their sizes."""
    parts = [f"{printable(name)} ({count:,} images)" for name, count in lengths.items()]
    return f"{described_classes(class_names)}; {', '.join(parts)}"


def described_classes(class_names: Sequence[str]) -> str:
    """Return the number of the classes, and the names of the first."""
    names = [*map(printable, class_names[:_LISTED]), *(["..."] * (len(class_names) > _LISTED))]
    return f"{len(class_names):,} classes ({', '.join(names)})"
