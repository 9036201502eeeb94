"""State dicts in PyTorch's own files, `torch.save`'s zip archives and the format before them.

    zip      NAME/data.pkl, NAME/byteorder, NAME/data/KEY: the bytes of one storage
    before   pickles of a magic number, a version, the machine, the objects and the keys of the
             storages; then for each key its count of elements (8 bytes) and its elements

The layout is that of `torch/serialization.py` (PyTorch 2); PyTorch itself is not needed.
"""

import math
import mmap
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from netzoo.errors import UserError
from netzoo.limits import check_unpacked
from netzoo.weights.formats.unpickle import TensorReference, unpickle

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001
# Where training scripts put the state dict among other things. Averaged weights come first.
NESTED_UNDER = ("state_dict_ema", "model_ema", "state_dict", "model")
# What `DataParallel` and `AveragedModel` put before every name.
WRAPPER = "module."
# A count that `AveragedModel` keeps beside the tensors of the network.
WRAPPER_COUNT = "n_averaged"


def read_torch_file(path: Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a state dict.

    Args:
      path: A file written by `torch.save`.

    Returns:
      Arrays by their names, in the types of the file. They may share memory.

    Raises:
      UserError: The file is damaged, or holds anything but tensors, containers and numbers.
    """
    with path.open("rb") as file:
        is_zip = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
        try:
            if is_zip:
                return _read_zip(file, path)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
                return _read_legacy(memory, path)
        except UserError:
            raise
        except Exception as error:  # zipfile, zlib and NumPy raise a dozen types for damage
            raise UserError(f"{path} is damaged or truncated: {error}") from None


def _read_zip(file: BinaryIO, path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        # Never compressed: nothing in it is larger than the file, nor all of it, unless members
        # share their bytes.
        check_unpacked(path, sum(entry.file_size for entry in archive.infolist()))
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise UserError(f"{path} is a compressed zip archive, which torch.save does not write")
        names = archive.namelist()
        indices = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(indices) != 1:
            raise UserError(f"{path} is a zip archive, but not one of torch.save: no data.pkl")
        root = indices[0].removesuffix("data.pkl")
        order = "<"
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") == b"big":
            order = ">"
        with archive.open(indices[0]) as index:
            state, _ = unpickle(index, str(path))
        return _arrays(state, lambda key: archive.read(f"{root}data/{key}"), order, path)


def _read_legacy(file: mmap.mmap, path: Path) -> dict[str, np.ndarray]:
    what = str(path)
    if unpickle(file, what)[0] != LEGACY_MAGIC or unpickle(file, what)[0] != LEGACY_VERSION:
        raise UserError(
            f"{path} was not written by torch.save, or by one from before 2017; save it again with "
            "a newer PyTorch"
        )
    unpickle(file, what)  # the machine; the bytes are little-endian on every one
    state, dtypes = unpickle(file, what)
    keys, _ = unpickle(file, what)
    storages: dict[str, bytes] = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        length = count * (dtypes[key].itemsize if key in dtypes else 1)
        left = len(file) - file.tell()
        if length > left:
            raise ValueError(f"storage {key} has {left:,} of {length:,} bytes")
        storages[key] = file.read(length)
    return _arrays(state, storages.__getitem__, "<", path)


def _arrays(
    state: Any, read: Callable[[str], bytes], order: str, path: Path
) -> dict[str, np.ndarray]:
    """Makes arrays of the references in a state dict; each storage is read once."""
    storages: dict[tuple[str, np.dtype], np.ndarray] = {}
    arrays = {}
    for name, reference in _state_dict(state, path).items():
        key, dtype, _ = reference.storage
        if (key, dtype) not in storages:
            storages[key, dtype] = np.frombuffer(read(key), dtype.newbyteorder(order))
        arrays[name] = _view(storages[key, dtype], reference, name)
    return arrays


def _state_dict(state: Any, path: Path) -> Mapping[str, TensorReference]:
    for key in NESTED_UNDER:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    tensors = {
        name: value
        for name, value in (state.items() if isinstance(state, dict) else ())
        if isinstance(name, str) and isinstance(value, TensorReference) and name != WRAPPER_COUNT
    }
    if not tensors:
        keys = ", ".join(map(str, state)) if isinstance(state, dict) else type(state).__name__
        raise UserError(
            f"{path} holds no state dict: expected tensors by their names, found {keys[:200]}"
        )
    if all(name.startswith(WRAPPER) for name in tensors):
        tensors = {name.removeprefix(WRAPPER): value for name, value in tensors.items()}
    return tensors


def _view(storage: np.ndarray, reference: TensorReference, name: str) -> np.ndarray:
    shape, strides = reference.shape, reference.strides
    start = reference.offset + reference.storage.offset
    if min((start, *shape, *strides)) < 0 or len(shape) != len(strides):
        raise ValueError(f"{name} has an impossible shape or place")
    if math.prod(shape) == 0:
        return np.empty(shape, storage.dtype)
    last = start + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if last >= storage.size:
        raise ValueError(f"{name} reaches beyond its storage of {storage.size} elements")
    bytes_between = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[start:], shape, bytes_between, writeable=False)
