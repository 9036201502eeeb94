"""Reads the tensors of a file, whatever its format, without running anything that it holds."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from netzoo.errors import UserError
from netzoo.weights.keras_files import read_keras_file
from netzoo.weights.torch_files import read_torch_file


class WeightFile(NamedTuple):
    """What a file holds.

    Attributes:
      tensors: Arrays by the names of whoever wrote the file, in the file's types.
      metadata: Text beside them; only .safetensors has any.
    """

    tensors: dict[str, np.ndarray]
    metadata: dict[str, str]


# What Google's training programs put before the names of the parameters, with the state of the
# optimizer under others.
GOOGLE_PREFIXES = ("params/", "opt/target/")
BFLOAT16 = "bfloat16"


def read_weights(path: Path) -> WeightFile:
    """Reads a file of weights.

    Raises:
      UserError: The suffix is unknown, the file is damaged, or it holds anything but tensors.
    """
    if path.suffix not in READERS:
        raise UserError(
            f"{path}: the format of files {path.suffix or 'without a suffix'} is unknown; "
            f"expected one of {', '.join(READERS)}"
        )
    read = READERS[path.suffix](path)
    for name, value in read.tensors.items():
        if value.dtype.kind not in "fiub" and value.dtype.name != BFLOAT16:
            raise UserError(f"{path}: {name} holds {value.dtype}, expected numbers")
    return read


def _read_safetensors(path: Path) -> WeightFile:
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return WeightFile(tensors, file.metadata() or {})
    except SafetensorError as error:
        raise UserError(f"{path} is damaged or truncated: {error}") from None


def _read_npz(path: Path) -> WeightFile:
    tensors = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                tensors[name] = file[name]
    except Exception as error:  # NumPy, zipfile and zlib raise half a dozen types for damage
        if "Object arrays" in str(error):
            raise UserError(
                f"{path} holds Python objects, which may run code when they are read; nothing was "
                "run. Save arrays of numbers"
            ) from None
        raise UserError(f"{path} is damaged or truncated: {error}") from None
    for prefix in GOOGLE_PREFIXES:
        found = {n.removeprefix(prefix): x for n, x in tensors.items() if n.startswith(prefix)}
        if found:
            return WeightFile(found, {})
    return WeightFile(tensors, {})


def _read_torch(path: Path) -> WeightFile:
    return WeightFile(read_torch_file(path), {})


def _read_keras(path: Path) -> WeightFile:
    return WeightFile(read_keras_file(path), {})


READERS: dict[str, Callable[[Path], WeightFile]] = {
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".bin": _read_torch,
    ".tar": _read_torch,  # timm's training writes `.pth.tar`
    ".npz": _read_npz,
    ".h5": _read_keras,
    ".hdf5": _read_keras,
}
