"""Pauses the collection of garbage while almost everything that is created stays."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Pause Python's collector of reference cycles within the `with` block.

    A start creates a million objects that stay: modules, traces and programs. The collector would
    visit them again and again, which takes a fifth of the time of imports and traces.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
