"""Damages JSON files: replaces and removes each of their parts."""

import contextlib
import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from netzoo.errors import UserError

DEEP = b'{"a":' * 5_000 + b"1" + b"}" * 5_000
WRONG = (None, True, -1, 10**400, 1.5, "x", "\ud800", [], [1], {}, {"a": 1}, [[[[1]]]])


def changed(value: Any) -> Iterator[Any]:
    """Yield copies of a value with each of its parts replaced or removed."""
    for path in paths(value):
        for wrong in (*WRONG, "remove"):
            new = copy.deepcopy(value)
            *parents, last = path
            inner = new
            for key in parents:
                inner = inner[key]
            if wrong == "remove":
                del inner[last]
            else:
                inner[last] = wrong
            yield new


def paths(value: Any) -> Iterator[tuple]:
    """Yield the keys and indices that lead to each part of a value."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield (key,)
            yield from ((key, *rest) for rest in paths(value[key]))


def read_everything(read: Callable[[], Any], path: Path, value: Any, before: bytes = b"") -> int:
    """Read a file with each of its parts replaced, and the sound one.

    Any error but a UserError or an OSError fails the test. `before` is the start of the file.

    Returns:
      The number of damaged files.
    """
    count = 0
    for text in (DEEP, b"[]", *(json.dumps(new).encode() for new in changed(value))):
        path.write_bytes(before + text + b"\n")
        with contextlib.suppress(UserError, OSError):
            read()
        count += 1
    path.write_bytes(before + json.dumps(value).encode() + b"\n")
    read()
    return count
