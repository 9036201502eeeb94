"""Reads the tensors of a file of any known format, without running anything that it holds."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import safe_open

from netzoo.errors import UserError
from netzoo.limits import check_unpacked
from netzoo.weights.formats.keras import read_keras_file
from netzoo.weights.formats.torch import read_torch_file


class WeightFile(NamedTuple):
    """What a file holds.

    Attributes:
      tensors: Arrays by the names that the file gives them, in the file's types.
      metadata: Text beside the tensors; only .safetensors has any.
    """

    tensors: dict[str, np.ndarray]
    metadata: Mapping[str, str] = {}


# Google's training programs put one of these before the names of parameters, and other prefixes
# before the state of the optimizer.
GOOGLE_PREFIXES = ("params/", "opt/target/")
BFLOAT16 = "bfloat16"


def read_weights(path: Path) -> WeightFile:
    """Reads a file of weights; its suffix says the format.

    Raises:
      UserError: The suffix is unknown, the file is damaged, or it holds anything but tensors.
    """
    if path.suffix not in READERS:
        raise UserError(
            f"{path}: the format of files {path.suffix or 'without a suffix'} is unknown; "
            f"expected one of {', '.join(READERS)}"
        )
    try:
        read = READERS[path.suffix](path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    for name, value in read.tensors.items():
        if value.dtype.kind not in "fiub" and value.dtype.name != BFLOAT16:
            raise UserError(f"{path}: {name} holds {value.dtype}, expected numbers")
    # A tensor of PyTorch may be a few numbers repeated as often as its shape says.
    check_unpacked(path, sum(value.nbytes for value in read.tensors.values()))
    return read


def _read_safetensors(path: Path) -> WeightFile:
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return WeightFile(tensors, file.metadata() or {})
    except Exception as error:  # beside its own, what NumPy raises for types and shapes
        raise UserError(f"{path} is damaged or truncated: {error}") from None


def _read_npz(path: Path) -> WeightFile:
    tensors = {}
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is not an archive of arrays")
        with np.load(path, allow_pickle=False) as file:
            check_unpacked(path, sum(entry.file_size for entry in file.zip.infolist()))
            for name in file.files:
                tensors[name] = _member(file, name)
    except UserError:
        raise
    except Exception as error:  # NumPy, zipfile and zlib raise half a dozen types for damage
        if "Object arrays" in str(error):
            raise UserError(
                f"{path} holds Python objects, which may run code when they are read; nothing was "
                "run. Save arrays of numbers"
            ) from None
        raise UserError(f"{path} is damaged or truncated: {error}") from None
    for prefix in GOOGLE_PREFIXES:
        parameters = {n.removeprefix(prefix): x for n, x in tensors.items() if n.startswith(prefix)}
        if parameters:
            return WeightFile(parameters)
    return WeightFile(tensors)


def _member(file: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    """Reads an array; NumPy returns the bytes of a member that is not one."""
    value = file[name]
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{name} is not an array")
    return value


def _read_torch(path: Path) -> WeightFile:
    return WeightFile(read_torch_file(path))


def _read_keras(path: Path) -> WeightFile:
    return WeightFile(read_keras_file(path))


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
