"""What every source of labelled images offers, and the errors and split syntax they share."""

import re
import threading
from collections.abc import Collection, Mapping
from typing import Protocol, TypedDict, runtime_checkable

import numpy as np
import tensorflow_datasets as tfds
from rich.console import Console

from netzoo.data.files import ImageError
from netzoo.errors import UserError, did_you_mean

CORRUPT_HINT = "Put a sound file in its place, or go on without it: data.on_corrupt=skip."


class Example(TypedDict):
    """One labelled image.

    `image` holds the encoded file (bytes), or pixels (uint8 `[H, W, 3]`, RGB) where a cache has
    decoded it already. `label` indexes `Source.class_names`. `name` says where the image came
    from, for error messages and reports.
    """

    image: bytes | np.ndarray
    label: int
    name: str


@runtime_checkable
class Source(Protocol):
    """A fixed, random-access sequence of labelled images; reading it from threads is safe."""

    name: str
    split: str
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        """Number of examples in the split."""

    def __getitem__(self, index: int) -> Example:
        """The example at `index`, the same one at every call."""


class SourceError(UserError):
    """A source specification, folder or split that cannot be used."""


class DatasetNotFoundError(SourceError):
    """A known data set that is not on this machine and could not be fetched."""


class SkipCorrupt:
    """Names each corrupt example once, on standard error, and counts them.

    Any number of data sets and threads may share one; its length is the number of examples so far.
    """

    def __init__(self) -> None:
        self._messages: set[str] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, error: ImageError) -> None:
        """Records a corrupt example."""
        with self._lock:
            if str(error) not in self._messages:
                self._messages.add(str(error))
                warn(f"Warning: corrupt example left out ({len(self)} so far): {error}")


def skip_or_raise(skip: SkipCorrupt | None, error: ImageError) -> None:
    """Records a corrupt example, or raises the error again if `skip` is None."""
    if skip is None:
        raise ImageError(f"{error} {CORRUPT_HINT}") from error
    skip.add(error)


def warn(text: str) -> None:
    """Prints a warning on standard error, as it stands."""
    Console(stderr=True).print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def resolve_split(
    split: str, lengths: Mapping[str, int], aliases: Mapping[str, str] | None = None
) -> list[tuple[str, range]]:
    """Translates a TFDS split expression, such as `train[:80%]+test`, into ranges of indices.

    The parsing is TFDS's own (https://www.tensorflow.org/datasets/splits), so a percentage is
    rounded here as it is there. `lengths` has the number of examples of each split, and `aliases`
    has further names of splits, as alias to name.

    Returns:
      `(split name, range of indices)` for each term, in order.

    Raises:
      SourceError: On a malformed expression, an unknown split or an empty selection.
    """
    # TFDS can parse few names, and `all` is its own keyword, so it gets other names for the splits.
    parsed = {name: f"_{place}_" for place, name in enumerate(lengths)}
    names = {other: name for name, other in parsed.items()}
    parsed |= {alias: parsed[n] for alias, n in (aliases or {}).items() if n in parsed}
    divided = (term.strip().partition("[") for term in split.split("+"))
    terms = ((name.strip(), mark + slice_) for name, mark, slice_ in divided)
    infos = {
        other: tfds.core.SplitInfo(name=other, shard_lengths=[lengths[name]], num_bytes=0)
        for other, name in names.items()
    }
    try:
        spec = tfds.core.ReadInstruction.from_spec(
            "+".join(parsed.get(name, name) + slice_ for name, slice_ in terms)
        )
        parts = [
            (name, range(*slice(part.from_, part.to).indices(lengths[name])))
            for part in spec.to_absolute(infos)
            for name in [names[part.splitname]]
        ]
        if not any(len(part) for _, part in parts):
            raise ValueError("it selects no examples.")
    except (ValueError, KeyError, AssertionError, NotImplementedError) as error:
        reason = re.sub("_[0-9]+_", lambda match: names.get(match[0], match[0]), str(error))
        raise split_error(split, lengths, type(error)(reason)) from error
    return parts


def validation_alias(splits: Collection[str]) -> dict[str, str]:
    """Returns the alias by which `val` or `validation` is found where only the other exists."""
    pairs = (("val", "validation"), ("validation", "val"))
    return {alias: name for alias, name in pairs if name in splits and alias not in splits}


def split_error(split: str, lengths: Mapping[str, int], error: Exception) -> SourceError:
    """Makes the error for a split expression that TFDS could not use, listing what would do."""
    reason = str(error).strip().splitlines()[-1] if str(error).strip() else repr(error)
    named = re.split(r"[\[+]", split)[0].strip()
    hint = "" if named in lengths else did_you_mean(named, lengths)
    available = ", ".join(f"{name!r} ({count:,} examples)" for name, count in lengths.items())
    return SourceError(
        f"Cannot read split {split!r}: {reason} Available: {available}.{hint} Slices are written "
        "like 'train[:80%]', 'train[80%:]' or 'train[:100]', and joined with '+'."
    )
