"""Going on without examples that cannot be read."""

import threading

from rich.console import Console

from netzoo.data.files import ImageError

HINT = "Put a sound file in its place, or go on without it: data.on_corrupt=skip."


class SkipCorrupt:
    """Names each corrupt example once, on standard error, and counts them.

    One may be shared by any number of data sets and threads.
    """

    def __init__(self):
        self._met: set[str] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Number of corrupt examples met so far."""
        return len(self._met)

    def meet(self, error: ImageError) -> None:
        """Takes note of a corrupt example."""
        with self._lock:
            if str(error) in self._met:
                return
            self._met.add(str(error))
            warn(f"Warning: corrupt example left out ({len(self._met)} so far): {error}")


def pass_by(skip: SkipCorrupt | None, error: ImageError) -> None:
    """Takes note of a corrupt example where they are skipped; raises the error where not."""
    if skip is None:
        raise ImageError(f"{error} {HINT}") from error
    skip.meet(error)


def warn(text: str) -> None:
    """Prints a warning on standard error, as it stands."""
    Console(stderr=True).print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
