"""Reads the pickles that PyTorch writes without executing them.

A small interpreter applies the operations to a stack of plain values. It looks up the names in a
table of three functions and ten types, and supports the operations that `torch.save` writes with
protocol 2 and above. docs/design.md explains why Python's own unpickler is not enough.
"""

import pickletools
from collections.abc import Callable, Iterable
from mmap import mmap
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

from netzoo.errors import UserError


class StorageReference(NamedTuple):
    """A reference to a storage elsewhere in the file."""

    key: str  # name of the storage in the file
    dtype: np.dtype
    offset: int  # index of the first element, if the storage is a view of another


class TensorReference(NamedTuple):
    """A tensor, before its values are read; offset and strides count elements."""

    storage: StorageReference
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


MAX_AXES = 64  # of a tensor, as in NumPy
MAX_ARGUMENTS = 8  # of a call; a longer list could be copied repeatedly
# Total entries of dictionaries made from lists. A list can be used many times, and each use takes
# new memory.
MAX_PAIRS = 1 << 20


def _tensor(storage, offset, shape, strides, *rest) -> TensorReference:
    if max(len(shape), len(strides)) > MAX_AXES:
        raise ValueError(f"a tensor has more than {MAX_AXES} axes")
    sizes = (offset, *shape, *strides)
    if not isinstance(storage, StorageReference) or not all(type(n) is int for n in sizes):
        raise ValueError("a tensor has no storage, or a size that is not an integer")
    return TensorReference(storage, offset, tuple(shape), tuple(strides))


def _dictionary(pairs: Iterable = ()) -> dict:
    result = {}
    for key, value in pairs:
        if type(key) not in (str, int):
            raise ValueError("a dictionary has keys that are neither strings nor integers")
        result[key] = value
    return result


# Names that a file may use: functions that make tensors and dictionaries, and storage types.
_NAMES: dict[str, Any] = {
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": lambda tensor, *rest: tensor,
    "collections OrderedDict": _dictionary,
    "torch DoubleStorage": np.dtype(np.float64),
    "torch FloatStorage": np.dtype(np.float32),
    "torch HalfStorage": np.dtype(np.float16),
    "torch BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch LongStorage": np.dtype(np.int64),
    "torch IntStorage": np.dtype(np.int32),
    "torch ShortStorage": np.dtype(np.int16),
    "torch CharStorage": np.dtype(np.int8),
    "torch ByteStorage": np.dtype(np.uint8),
    "torch BoolStorage": np.dtype(np.bool_),
}
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "NONE": lambda: None,
}
_LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
}  # fmt: skip


def unpickle(file: IO[bytes] | mmap) -> tuple[Any, dict[str, np.dtype]]:
    """Read one pickle from the position of `file`, and leave the position after the pickle.

    Returns:
      A value of numbers, strings, lists, tuples, dictionaries and `TensorReference`s; and the
      dtypes of its storages by their keys.

    Raises:
      UserError: The pickle uses other names than those of tensors and dictionaries.
      Exception: The pickle is invalid.
    """
    machine = _Machine()
    # genops reads any file object, but its declared type omits mmap.
    for operation, argument, _ in pickletools.genops(file):  # type: ignore[arg-type]
        if operation.name != "STOP":
            machine.step(operation.name, argument)
    return machine.stack.pop(), machine.storages


class _Machine:
    """The stack and the memo of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.storages: dict[str, np.dtype] = {}
        self._marks: list[int] = []  # lengths of the stack
        self._memo: dict[int, Any] = {}
        self._pairs_left = MAX_PAIRS

    def step(self, name: str, argument: Any) -> None:
        """Apply one operation."""
        push = self.stack.append
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self._marks.append(len(self.stack))
            case "TUPLE":
                push(tuple(self._take()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                push(tuple(self._take(int(name[-1]))))
            case "APPEND" | "APPENDS":
                values = self._take(1) if name == "APPEND" else self._take()
                self._last(list).extend(values)
            case "SETITEM" | "SETITEMS":
                values = self._take(2) if name == "SETITEM" else self._take()
                pairs = zip(values[::2], values[1::2], strict=True)
                self._last(dict).update(_dictionary(pairs))
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self.stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = self.stack[-1]
            case "BINGET" | "LONG_BINGET":
                push(self._memo[argument])
            case "GLOBAL":
                push(self._named(argument))
            case "STACK_GLOBAL":
                push(self._named(" ".join(self._take(2))))
            case "REDUCE":
                push(self._call(*self._take(2)))
            case "BUILD":  # a state dict stores the versions of its modules as an attribute
                self._take(1)
                self._last(dict)
            case "BINPERSID":
                push(self._storage(*self._take(1)))
            case _ if name in _LITERALS:
                push(argument)
            case _ if name in _EMPTY:
                push(_EMPTY[name]())
            case "NEWTRUE" | "NEWFALSE":
                push(name == "NEWTRUE")
            case _:
                raise _refusal(f"{name} {argument!r:.100}")

    def _take(self, count: int | None = None) -> list[Any]:
        """Pop the last values from the stack, by default all after the last mark."""
        start = self._marks.pop() if count is None else len(self.stack) - count
        if not 0 <= start <= len(self.stack):
            raise ValueError("values are missing")
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def _last(self, kind: type) -> Any:
        if not self.stack or type(self.stack[-1]) is not kind:
            raise ValueError(f"a {kind.__name__} is missing")
        return self.stack[-1]

    def _named(self, name: str) -> Any:
        if name not in _NAMES:
            raise _refusal(f"{name.replace(' ', '.', 1)!r:.100}")
        return _NAMES[name]

    def _call(self, function: Any, arguments: Any) -> Any:
        if not callable(function) or type(arguments) is not tuple:
            raise _refusal("a call of an unnamed object")
        if len(arguments) > MAX_ARGUMENTS:
            raise ValueError(f"a call has more than {MAX_ARGUMENTS} arguments")
        if function is _dictionary and arguments:
            self._pairs_left -= len(arguments[0])
            if self._pairs_left < 0:
                raise ValueError(f"dictionaries have more than {MAX_PAIRS:,} pairs")
        return function(*arguments)

    def _storage(self, values: Any) -> StorageReference:
        if type(values) is not tuple or values[:1] != ("storage",):
            raise _refusal("an object that is not a tensor")
        _, dtype, key, _, _, *view = values
        offset = view[0][1] if view and view[0] is not None else 0
        if not isinstance(dtype, np.dtype) or type(key) is not str or type(offset) is not int:
            raise ValueError("a storage lacks a dtype, a key or an offset")
        self.storages[key] = dtype
        return StorageReference(key, dtype, offset)


def _refusal(what: str) -> UserError:
    return UserError(
        f"it would run or build {what}, which weights do not need; nothing was executed. Save only "
        "the state dict: torch.save(model.state_dict(), PATH), or use .safetensors"
    )
