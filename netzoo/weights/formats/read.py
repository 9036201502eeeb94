"""Reads the tensors of a file of any known format without executing its contents."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import safe_open

from netzoo.errors import UserError, printable
from netzoo.limits import check_unpacked
from netzoo.weights.formats.keras import read_keras_file
from netzoo.weights.formats.torch import read_torch_file

# Google's training programs add one of these prefixes to the names of parameters, and other
# prefixes to the optimizer state.
GOOGLE_PREFIXES = ("params/", "opt/target/")


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Read a file of weights in the format of its suffix.

    Returns:
      Arrays by their names in the file, in the file's dtypes. They may share memory.

    Raises:
      UserError: The suffix is unknown, the file is damaged, or it does not hold only tensors.
    """
    if path.suffix not in READERS:
        raise UserError(
            f"{path}: unknown suffix {path.suffix!r}; expected one of {', '.join(READERS)}"
        )
    try:
        path.open("rb").close()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    try:
        tensors = READERS[path.suffix](path)
        for name, value in tensors.items():
            if value.dtype.kind not in "fiub" and value.dtype.name != "bfloat16":
                raise UserError(f"{name} holds {value.dtype}; expected numbers")
        # A PyTorch tensor with strides of 0 may be far larger than its storage.
        check_unpacked(path, sum(value.nbytes for value in tensors.values()))
    except UserError as error:
        raise UserError(f"{path}: {printable(str(error))}") from None
    except Exception as error:  # libraries raise many types for damaged files
        reason = printable(str(error))
        raise UserError(f"{path} is damaged or truncated: {reason}. Download it again") from None
    return tensors


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a readable .safetensors file; {} for other files."""
    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, framework="numpy") as file:
        return file.metadata() or {}


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise ValueError("it is not an .npz archive of arrays")
    with np.load(path, allow_pickle=False) as file:
        check_unpacked(path, sum(entry.file_size for entry in file.zip.infolist()))
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
