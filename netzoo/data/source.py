"""What every source of labelled images offers, and the errors that sources share."""

import threading
from typing import Protocol, TypedDict, runtime_checkable

import numpy as np
from rich.console import Console

from netzoo.data.files import ImageError
from netzoo.errors import UserError

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
