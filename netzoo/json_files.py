"""Reads JSON files of an expected shape, which may be damaged or come from a stranger.

A shape is the schema of a JSON value:

    str, bool, int, float    a value of this type; a float is finite and may be whole
    None                     null
    (A, B)                   one of several shapes
    [A]                      a list of values of a shape
    [A, B]                   a list of two values
    {"a": A, "b?": B}        an object with the key "a", perhaps "b", and any other keys
    {"*": A}                 an object whose values all have a shape
    object                   anything
"""

import json
import math
import os
from typing import Any

from netzoo.errors import UserError, printable
from netzoo.files import MAX_TEXT, read_bytes

_MAX_INTEGER = 1 << 63
_MAX_DEPTH = 32  # objects and lists within each other


class OtherShape(UserError):
    """A file is not JSON or has another shape; the message names the file and the difference."""


def read_json(path: str | os.PathLike[str], shape: Any, limit: int = MAX_TEXT) -> Any:
    """Return the value of a file.

    Raises:
      OSError: The file cannot be read; see `netzoo.files.open_regular`.
      OtherShape: It is not JSON, or has another shape.
    """
    data = read_bytes(path, limit)
    try:
        return parse_json(data, shape)
    except ValueError as error:
        raise OtherShape(f"{path} is damaged or from another version of netzoo: {error}") from None


def parse_json(data: bytes, shape: Any) -> Any:
    """Return the value of a text in UTF-8.

    Raises:
      ValueError: The text is not JSON, or has another shape; the message is the reason.
    """
    try:
        value = json.loads(data)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    level = [value]
    for _ in range(_MAX_DEPTH):
        if any(isinstance(x, int) and abs(x) > _MAX_INTEGER for x in level):
            raise ValueError("it holds a whole number of over 64 bits")
        level = [x for inner in level for x in _children(inner)]
    if level:
        raise ValueError(_TOO_DEEP)
    check_shape(value, shape)
    return value


def check_shape(value: Any, shape: Any) -> None:
    """Check the shape of a value of `parse_json`.

    Raises:
      ValueError: See `parse_json`.
    """
    if fault := _fault(value, shape, ""):
        raise ValueError(printable(fault))


_TOO_DEEP = f"it nests lists or objects over {_MAX_DEPTH} deep"
_NAMES = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.values()]
    return value if isinstance(value, list) else []


def _fault(value: Any, shape: Any, where: str) -> str | None:
    """Return the first difference between a value and a shape, or None."""
    if not _has_kind(value, shape):
        at = where.removeprefix(".") or "the file"
        return f"expected {_described(shape)} for {at}, got {json.dumps(value)[:60]}"
    if isinstance(shape, tuple):
        faults = [_fault(value, inner, where) for inner in shape if _has_kind(value, inner)]
        return None if None in faults else faults[0]
    if isinstance(shape, list):
        shapes = shape if len(shape) > 1 else shape * len(value)
        if len(shapes) != len(value):
            return f"expected {len(shapes)} values in {where.removeprefix('.') or 'the file'}"
        pairs = enumerate(zip(value, shapes, strict=True))
        items = ((f"{where}[{i}]", item, inner) for i, (item, inner) in pairs)
    elif isinstance(shape, dict):
        keys = {key.removesuffix("?"): inner for key, inner in shape.items()}
        if missing := [k for k in shape if k != "*" and not k.endswith("?") and k not in value]:
            return f"{where.removeprefix('.') or 'it'} lacks the key {missing[0]!r}"
        items = (
            (f"{where}.{key}", item, keys.get(key, keys.get("*", object)))
            for key, item in value.items()
        )
    else:
        return None
    return next((fault for at, item, inner in items if (fault := _fault(item, inner, at))), None)


def _has_kind(value: Any, shape: Any) -> bool:
    """Return whether a value has the type of a shape, whatever it holds."""
    if isinstance(shape, tuple):
        return any(_has_kind(value, inner) for inner in shape)
    if isinstance(shape, dict | list):
        return isinstance(value, type(shape))
    if shape in (int, float):
        number = int if shape is int else int | float
        is_number = isinstance(value, number) and not isinstance(value, bool)
        return is_number and abs(value) < math.inf
    return value is None if shape is None else isinstance(value, shape)


def _described(shape: Any) -> str:
    if isinstance(shape, tuple):
        return " or ".join(map(_described, shape))
    if isinstance(shape, dict | list):
        return "a list" if isinstance(shape, list) else "an object"
    return "null" if shape is None else _NAMES[shape]
