"""Reads state dicts in PyTorch files: `torch.save`'s zip archives and its legacy format.

    zip      NAME/data.pkl, NAME/byteorder, NAME/data/KEY: the bytes of one storage
    legacy   pickles of a magic number, a version, the machine, the objects and the keys of the
             storages; then for each key its count of elements (8 bytes) and its elements

The formats are those of `torch/serialization.py` (PyTorch 2); PyTorch is not required.
"""

import math
import mmap
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from netzoo.errors import UserError
from netzoo.files import MAX_DATA, open_regular
from netzoo.limits import check_unpacked
from netzoo.weights.formats.unpickle import (
    SAVE_OTHERWISE,
    Mark,
    Pickle,
    TensorReference,
    unpickle,
)

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001
# Keys under which training scripts store the state dict; averaged weights come first.
NESTED_UNDER = (
    "state_dict_ema", "model_ema", "ema_state_dict", "ema",
    "state_dict", "model_state_dict", "model_state", "model", "network", "net", "backbone",
)  # fmt: skip
MAX_DEPTH = 3  # dictionaries around the state dict
SHOWN = 200  # characters of names in an error


def read_torch_file(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a state dict; see `read_weights`."""
    with open_regular(path, MAX_DATA) as file:
        if file.read(len(ZIP_MAGIC)) == ZIP_MAGIC:
            return _read_zip(file, path)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
            return _read_legacy(memory)


def _read_zip(file: BinaryIO, path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        # The archive is not compressed, so its members can exceed its size only if they overlap.
        check_unpacked(path.stat().st_size, sum(entry.file_size for entry in archive.infolist()))
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise UserError(
                "it is a compressed zip archive, which torch.save does not write; save the weights "
                "with torch.save"
            )
        names = archive.namelist()
        indices = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(indices) != 1:
            raise UserError(
                "it is a zip archive without data.pkl, which torch.save writes; save the weights "
                "with torch.save"
            )
        root = indices[0].removesuffix("data.pkl")
        big = f"{root}byteorder" in names and archive.read(f"{root}byteorder") == b"big"
        with archive.open(indices[0]) as index:
            state = unpickle(index)
        return _arrays(state, lambda key: archive.read(f"{root}data/{key}"), big)


def _read_legacy(file: mmap.mmap) -> dict[str, np.ndarray]:
    first, second = unpickle(file), None
    if first.value == LEGACY_MAGIC:
        second = unpickle(file).value
    if first.named:
        raise UserError(
            f"it would execute or create {first.named[0]}; nothing was executed. {SAVE_OTHERWISE}"
        )
    if second != LEGACY_VERSION:
        raise UserError(
            "it was not written by torch.save of 2017 or later; save it again with a newer PyTorch"
        )
    unpickle(file)  # the machine; all bytes are little-endian
    state, keys = unpickle(file), unpickle(file).value
    storages: dict[str, bytes] = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        length = count * (state.dtypes[key].itemsize if key in state.dtypes else 1)
        left = len(file) - file.tell()
        if length > left:
            raise ValueError(f"storage {key} has {left:,} of {length:,} bytes")
        storages[key] = file.read(length)
    return _arrays(state, storages.__getitem__, big=False)


def _arrays(state: Pickle, read: Callable[[str], bytes], big: bool) -> dict[str, np.ndarray]:
    """Make arrays from a state dict's references, reading each storage once."""
    storages: dict[tuple[str, np.dtype], np.ndarray] = {}
    arrays = {}
    for name, reference in _state_dict(state.value, state.named).items():
        key, dtype, _ = reference.storage
        if (key, dtype) not in storages:
            storages[key, dtype] = np.frombuffer(read(key), dtype.newbyteorder(">" if big else "<"))
        arrays[name] = _view(storages[key, dtype], reference, name)
    return arrays


def _state_dict(state: Any, named: Sequence[str]) -> dict[str, TensorReference]:
    """Find the dictionary that maps names to tensors; other dictionaries may hold anything.

    `named` are the names in the file that do not belong to tensors.

    Raises:
      UserError: The file has no state dict, or several without a known key, or an object is
        among the tensors.
    """
    found = state
    for _ in range(MAX_DEPTH):
        inner = {k: x for k, x in found.items() if _holds_tensors(x)} if _is_dict(found) else {}
        known = [key for key in NESTED_UNDER if key in inner]
        if not known and (len(inner) != 1 or _is_state_dict(found)):
            break
        found = inner[known[0]] if known else next(iter(inner.values()))
    if not _is_state_dict(found):
        keys = ", ".join(map(str, found))[:SHOWN] if _is_dict(found) else type(found).__name__
        built = (
            f"; it would execute or create {', '.join(named)[:SHOWN]}; nothing was executed"
            if named
            else ""
        )
        raise UserError(
            f"it holds no state dict: expected tensors by name, got {keys}{built}. {SAVE_OTHERWISE}"
        )
    if marks := [f"{x.name} as {name}" for name, x in found.items() if isinstance(x, Mark)]:
        raise UserError(
            f"it would execute or create {', '.join(marks)[:SHOWN]}; nothing was executed. "
            f"{SAVE_OTHERWISE}"
        )
    return {
        name: x
        for name, x in found.items()
        if isinstance(name, str) and isinstance(x, TensorReference)
    }


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_state_dict(value: Any) -> bool:
    items = value.items() if isinstance(value, dict) else ()
    return any(isinstance(name, str) and isinstance(x, TensorReference) for name, x in items)


def _holds_tensors(value: Any, depth: int = MAX_DEPTH) -> bool:
    """Return whether a value is a dictionary that contains a state dict."""
    if not isinstance(value, dict) or depth == 0:
        return False
    return _is_state_dict(value) or any(_holds_tensors(x, depth - 1) for x in value.values())


def _view(storage: np.ndarray, reference: TensorReference, name: str) -> np.ndarray:
    shape, strides = reference.shape, reference.strides
    start = reference.offset + reference.storage.offset
    if min((start, *shape, *strides)) < 0 or len(shape) != len(strides):
        raise ValueError(f"{name} has an invalid shape or offset")
    if math.prod(shape) == 0:
        return np.empty(shape, storage.dtype)
    last = start + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if last >= storage.size:
        raise ValueError(f"{name} extends beyond its storage of {storage.size} elements")
    bytes_between = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[start:], shape, bytes_between, writeable=False)
