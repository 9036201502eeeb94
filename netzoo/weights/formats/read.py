"""Reads the tensors of a file of any known format without executing its contents."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import safe_open

from netzoo.errors import UserError, printable
from netzoo.files import MAX_DATA, open_regular
from netzoo.json_files import read_json
from netzoo.limits import check_unpacked
from netzoo.weights.formats.keras import read_keras_file
from netzoo.weights.formats.torch import read_torch_file

INDEX = ".index.json"
SHARDS = {"weight_map": {"*": str}}  # of an index: the file of each tensor
OWN = "netzoo"  # in the metadata of netzoo's own files; their names are netzoo's variable paths
ZIP_MAGIC, HDF5_MAGIC, PICKLE_MAGIC = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"\x80"
# Google's training programs add one of these prefixes to the names of parameters, and other
# prefixes to the optimizer state.
GOOGLE_PREFIXES = ("params/", "opt/target/")


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Read a file of weights, or all files of an index; the content determines the format.

    Returns:
      Arrays by their names in the file, in the file's dtypes. They may share memory.

    Raises:
      UserError: The format is unknown, the file is damaged, or it does not hold only tensors.
    """
    if path.name.endswith(INDEX):
        return {name: x for file in weight_files(path) for name, x in read_weights(file).items()}
    try:
        with open_regular(path, MAX_DATA) as file:
            start = file.read(16)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    try:
        tensors = _reader(path, start)(path)
        for name, value in tensors.items():
            if value.dtype.kind not in "fiub" and value.dtype.name != "bfloat16":
                raise UserError(f"{name} holds {value.dtype}; expected numbers")
        # A PyTorch tensor with strides of 0 may be far larger than its storage.
        check_unpacked(path.stat().st_size, sum(value.nbytes for value in tensors.values()))
    except UserError as error:
        raise UserError(f"{path}: {printable(str(error))}") from None
    except Exception as error:  # libraries raise many types for damaged files
        reason = printable(str(error))
        raise UserError(f"{path} is damaged or truncated: {reason}. Download it again") from None
    return tensors


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a readable .safetensors file; {} for other files."""
    with open_regular(path, MAX_DATA) as file:
        if path.name.endswith(INDEX) or file.read(9)[8:] != b"{":
            return {}
    with safe_open(path, framework="numpy") as tensors:
        return tensors.metadata() or {}


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise ValueError("it is not an .npz archive of arrays")
    with np.load(path, allow_pickle=False) as file:
        check_unpacked(path.stat().st_size, sum(entry.file_size for entry in file.zip.infolist()))
        try:
            tensors = {name: file[name] for name in file.files}
        except ValueError as error:
            if "Object arrays" in str(error):
                raise UserError(
                    "it holds Python objects, which can execute code when read; nothing was "
                    "executed. Save arrays of numbers"
                ) from None
            raise
    for name, value in tensors.items():
        if not isinstance(value, np.ndarray):  # NumPy returns other members as bytes
            raise ValueError(f"{name} is not an array")
    for prefix in GOOGLE_PREFIXES:
        parameters = {n.removeprefix(prefix): x for n, x in tensors.items() if n.startswith(prefix)}
        if parameters:
            return parameters
    return tensors


def weight_files(path: Path) -> list[Path]:
    """Return the files that hold the tensors: those that an index lists beside it, or `path`.

    Raises:
      UserError: The index is damaged, or names a file in another folder.
    """
    if not path.name.endswith(INDEX):
        return [path]
    try:
        names = set(read_json(path, SHARDS)["weight_map"].values())
        if wrong := [name for name in names if Path(name).name != name or name.endswith(INDEX)]:
            raise ValueError(f"{wrong[0]!r:.100} does not name a file beside it")
    except (OSError, ValueError) as error:
        reason = printable(str(error))
        raise UserError(f"{path} is not an index of weight files: {reason}") from None
    return [path.with_name(name) for name in sorted(names)]


def _reader(path: Path, start: bytes) -> Callable[[Path], dict[str, np.ndarray]]:
    """Choose a reader by the first bytes, or by the suffix of a damaged file."""
    by_suffix = READERS.get(path.suffix)
    if start.startswith(HDF5_MAGIC):
        return read_keras_file
    if start.startswith(ZIP_MAGIC) and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        is_torch = any(name == "data.pkl" or name.endswith("/data.pkl") for name in names)
        is_npz = all(name.endswith(".npy") for name in names)
        return read_torch_file if is_torch else _read_npz if is_npz else by_suffix or _read_npz
    if start[8:9] == b"{":  # before pickles, because the preceding length may begin like a pickle
        return _read_safetensors
    if start.startswith(PICKLE_MAGIC):
        return read_torch_file
    if by_suffix is None:
        raise UserError(
            "it is in no known format; expected one of .safetensors, PyTorch (.pth, .pt, .bin, "
            ".ckpt), .npz or Keras (.h5), whatever its suffix"
        )
    return by_suffix


READERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".safetensors": _read_safetensors,
    ".pth": read_torch_file,
    ".pt": read_torch_file,
    ".bin": read_torch_file,
    ".tar": read_torch_file,  # timm's training script writes `.pth.tar`
    ".npz": _read_npz,
    ".h5": read_keras_file,
    ".hdf5": read_keras_file,
}
