"""A program to export, an exported program that was read back, and what files say about it."""

import contextlib
import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import export

from netzoo.errors import UserError, printable


class Program(NamedTuple):
    """A function of arrays, with constants for the weights, and its description.

    Every dimension of a shape is a number or the name of a size that the caller of the file
    chooses, such as "batch".
    """

    function: Callable[..., tuple[jax.Array, ...]]  # of the inputs, in order
    inputs: Mapping[str, tuple[tuple[int | str, ...], Any]]  # shape and dtype by name
    outputs: tuple[str, ...]  # their names
    metadata: Mapping[str, Any]  # values of JSON

    def arguments(self) -> list[jax.ShapeDtypeStruct]:
        """Return the inputs with symbolic dimensions, for tracing."""
        scope = export.SymbolicScope()  # an equal name is an equal size in all inputs
        return [
            jax.ShapeDtypeStruct(
                export.symbolic_shape(", ".join(map(str, shape)), scope=scope), dtype
            )
            for shape, dtype in self.inputs.values()
        ]


class LoadedProgram(NamedTuple):
    """A program of a file."""

    run: Callable[..., list[np.ndarray]]  # maps the inputs, in order, to the outputs
    metadata: Mapping[str, Any]


class UnreadableError(UserError):
    """The runtime of a format cannot read a file.

    Attributes:
      reason: What the runtime says.
    """

    def __init__(self, path: Path, problem: str, error: Exception):
        """State the problem of the file at `path`, and the text of `error`."""
        self.reason = printable(" ".join(str(error).split()))[:200]
        super().__init__(f"{path} {problem}: {self.reason}")


@contextlib.contextmanager
def reading_back(out: Path, advice: str = "") -> Iterator[None]:
    """Explain, in a `with` block, that a runtime cannot read a file that is not damaged.

    Args:
      out: The name that the file would get.
      advice: What to do, for the end of the error.

    Raises:
      UserError: The block raises an UnreadableError.
    """
    try:
        yield
    except UnreadableError as error:
        raise UserError(
            f"{out} was not written, because the runtime of this format cannot read the file of "
            f"this network: {error.reason}{advice}"
        ) from None


def optional(package: str, extra: str) -> ModuleType:
    """Import a package of an extra.

    Raises:
      UserError: The package is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError:
        raise UserError(
            f"this file format needs the package {package}: pip install 'netzoo[{extra}]'"
        ) from None


def metadata_text(metadata: Mapping[str, Any]) -> str:
    """Return metadata as the JSON of a file, a key to a line."""
    lines = (f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in metadata.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"
