"""The line that describes a source when a process first opens the source."""

from collections.abc import Mapping, Sequence

from netzoo.errors import printable

_LISTED = 5


def described(class_names: Sequence[str], lengths: Mapping[str, int]) -> str:
    """Return a description of a source: its classes, and its splits with their sizes."""
    names = [*map(printable, class_names[:_LISTED]), *(["..."] * (len(class_names) > _LISTED))]
    parts = [f"{printable(name)} ({count:,} images)" for name, count in lengths.items()]
    return f"{len(class_names):,} classes ({', '.join(names)}); {', '.join(parts)}"
