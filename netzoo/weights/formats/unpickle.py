"""Reads the pickles that PyTorch writes without executing them.

The operations are followed one by one on a stack of plain values, and what they name is looked up
in a table of three functions and ten types. The operations are those that `torch.save` writes with
protocol 2 and above. docs/design.md says what Python's own unpickler lacks.
"""

import pickletools
from collections.abc import Callable, Iterable
from mmap import mmap
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

from netzoo.errors import UserError


class StorageReference(NamedTuple):
    """A piece of memory that lies elsewhere in the file."""

    key: str  # its name there
    dtype: np.dtype
    offset: int  # index of its first element, where it is a view of another one


class TensorReference(NamedTuple):
    """A tensor, before its values are read; offset and strides count elements."""

    storage: StorageReference
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


MAX_AXES = 64  # of a tensor, as of NumPy's arrays
MAX_ARGUMENTS = 8  # of a call; a longer list could be copied again and again
# Entries of all dictionaries made from lists. A list may be used many times, and its entries take
# new memory each time.
MAX_PAIRS = 1 << 20


def _tensor(storage, offset, shape, strides, *rest) -> TensorReference:
    if max(len(shape), len(strides)) > MAX_AXES:
        raise ValueError(f"a tensor of more than {MAX_AXES} axes")
    sizes = (offset, *shape, *strides)
    if not isinstance(storage, StorageReference) or not all(type(n) is int for n in sizes):
        raise ValueError("a tensor without storage or with a size that is not a number")
    return TensorReference(storage, offset, tuple(shape), tuple(strides))


def _dictionary(pairs: Iterable = ()) -> dict:
    result = {}
    for key, value in pairs:
        if type(key) not in (str, int):
            raise ValueError("a dictionary with keys that are neither text nor whole numbers")
        result[key] = value
    return result


# What a file may name: functions by which tensors and dictionaries are made, types of storages.
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
    """Reads one pickle from the position of `file`, and leaves the position after its end.

    Returns:
      A value of numbers, strings, lists, tuples, dictionaries and `TensorReference`s; and the
      types of the storages that it refers to, by their keys.

    Raises:
      UserError: The pickle names anything but tensors and dictionaries.
      Exception: It does not follow the format.
    """
    machine = _Machine()
    # genops reads a file of any kind, and its declared type leaves out mmap.
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
        """Follows one operation."""
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
            case "BUILD":  # a state dict carries the versions of its modules as an attribute
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
        """Takes the last values off the stack; by default all after the last mark."""
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
            raise _refusal("a call of something without a name")
        if len(arguments) > MAX_ARGUMENTS:
            raise ValueError(f"a call with more than {MAX_ARGUMENTS} arguments")
        if function is _dictionary and arguments:
            self._pairs_left -= len(arguments[0])
            if self._pairs_left < 0:
                raise ValueError(f"dictionaries made of more than {MAX_PAIRS:,} pairs")
        return function(*arguments)

    def _storage(self, values: Any) -> StorageReference:
        if type(values) is not tuple or values[:1] != ("storage",):
            raise _refusal("an object that is not a tensor")
        _, dtype, key, _, _, *view = values
        offset = view[0][1] if view and view[0] is not None else 0
        if not isinstance(dtype, np.dtype) or type(key) is not str or type(offset) is not int:
            raise ValueError("a storage without a type, a key or a place")
        self.storages[key] = dtype
        return StorageReference(key, dtype, offset)


def _refusal(what: str) -> UserError:
    return UserError(
        f"it wants to run or build {what}, which weights do not need; nothing was run. Save the "
        "state dict alone: torch.save(model.state_dict(), PATH), or as .safetensors"
    )
