"""A program to export, an exported program that was read back, and what files say about it."""

import importlib
import json
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import export

from netzoo.errors import UserError


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
