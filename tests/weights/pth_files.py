"""Writes PyTorch files opcode by opcode, including files that PyTorch would never write."""

import pickle
import zipfile
from pathlib import Path

import numpy as np

KINDS = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}


def literal(value) -> bytes:
    """The operations that push a plain value."""
    return pickle.dumps(value, protocol=2)[2:-1]


def named(module: str, name: str) -> bytes:
    """The operation that pushes `name` of a module."""
    return f"c{module}\n{name}\n".encode()


def dictionary(items: dict[str, bytes]) -> bytes:
    """The operations that push a dictionary of values given by their operations."""
    return b"}" + b"".join(literal(key) + value + b"s" for key, value in items.items())


def tensor(key: str, kind: str, count: int, shape, strides, offset: int = 0) -> bytes:
    """The operations that push a tensor whose storage is `data/KEY`."""
    storage = b"(" + literal("storage") + named("torch", kind)
    storage += literal(key) + literal("cpu") + literal(count) + b"tQ"
    arguments = b"(" + storage + literal(offset) + literal(tuple(shape)) + literal(tuple(strides))
    arguments += literal(False) + named("collections", "OrderedDict") + b")Rt"
    return named("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


def program(operations: bytes) -> bytes:
    """A whole pickle."""
    return b"\x80\x02" + operations + b"."


def write_zip(path: Path, operations: bytes, storages: dict[str, bytes], order="little") -> Path:
    """Write the archive of a pickle and the storages that it refers to."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program(operations))
        archive.writestr("archive/byteorder", order)
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key}", content)
    return path


def write_state_dict(
    path: Path, arrays: dict[str, np.ndarray], *, under=(), order="little"
) -> Path:
    """Write arrays as a state dict, nested under the keys `under`, outermost first."""
    items, storages = {}, {}
    for index, (name, array) in enumerate(arrays.items()):
        strides = [stride // array.itemsize for stride in array.copy().strides]
        kind = KINDS[array.dtype.name]
        items[name] = tensor(str(index), kind, array.size, array.shape, strides)
        swapped = array.astype(array.dtype.newbyteorder(">" if order == "big" else "<"))
        storages[str(index)] = swapped.tobytes()
    operations = dictionary(items)
    for key in reversed(under):
        operations = dictionary({key: operations, "epoch": literal(3)})
    return write_zip(path, operations, storages, order)
