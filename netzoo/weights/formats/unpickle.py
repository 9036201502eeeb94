"""Reads the pickles that PyTorch writes without executing them.

A small interpreter applies the operations to a stack of plain values. It looks up the names of
tensors and dictionaries in a table. Every other object, such as the flags of a training script,
becomes a `Mark` with its name, and is never imported, called or filled. The operations are those
that `torch.save` writes with protocol 2 and above. docs/design.md explains why Python's own
unpickler is not enough.
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


class Mark(NamedTuple):
    """The name of an object that is not a tensor. The object itself is never created."""

    name: str


MAX_NAME, MAX_NAMED = 100, 8  # characters of a mark's name; names for an error
SAVE_OTHERWISE = (
    "Save only the state dict: torch.save(model.state_dict(), PATH), or use .safetensors"
)
MAX_AXES = 64  # of a tensor, as in NumPy
MAX_ARGUMENTS = 8  # of a call; a longer list could be copied repeatedly
# Total entries of dictionaries built from lists. A list can be used many times, and each use takes
# new memory.
MAX_PAIRS = 1 << 20


def _tensor(storage, offset, shape, strides, *rest) -> TensorReference | Mark:
    if isinstance(storage, Mark):  # of a dtype that NumPy lacks
        return storage
    if max(len(shape), len(strides)) > MAX_AXES:
        raise ValueError(f"a tensor has more than {MAX_AXES} axes")
    sizes = (offset, *shape, *strides)
    if not isinstance(storage, StorageReference) or not all(type(n) is int for n in sizes):
        raise ValueError("a tensor has no storage, or a size that is not an integer")
    return TensorReference(storage, offset, tuple(shape), tuple(strides))


def _dictionary(pairs: Iterable = ()) -> dict:
    result = {}
    for key, value in pairs:
        if key is None or type(key) in (bool, float, Mark):
            continue  # not the name of a tensor
        if type(key) not in (str, int):
            raise ValueError("a dictionary has keys that are neither strings nor integers")
        result[key] = value
    return result


# Names that a file may use: functions that make tensors and dictionaries, and storage types.
_NAMES: dict[str, Any] = {
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": lambda tensor, *rest: tensor,
    "torch._utils _rebuild_parameter_with_state": lambda tensor, *rest: tensor,
    "collections OrderedDict": _dictionary,
    "torch DoubleStorage": np.dtype(np.float64),
    "torch FloatStorage": np.dtype(np.float32),
    "torch HalfStorage": np.dtype(np.float16),
    "torch BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch ComplexFloatStorage": np.dtype(np.complex64),
    "torch ComplexDoubleStorage": np.dtype(np.complex128),
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
    "EMPTY_SET": lambda: Mark("set"),
}
_LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
}  # fmt: skip


class Pickle(NamedTuple):
    """The contents of a pickle."""

    value: Any  # numbers, strings, lists, tuples, dictionaries, `TensorReference`s and `Mark`s
    dtypes: dict[str, np.dtype]  # of the storages by their keys
    named: list[str]  # the first names that became marks


def unpickle(file: IO[bytes] | mmap) -> Pickle:
    """Read one pickle from the position of `file`, and leave the position after the pickle.

    Raises:
      UserError: The pickle uses an operation that `torch.save` does not write.
      Exception: The pickle is invalid.
    """
    machine = _Machine()
    # genops reads any file object, but its declared type omits mmap.
    for operation, argument, _ in pickletools.genops(file):  # type: ignore[arg-type]
        if operation.name != "STOP":
            machine.step(operation.name, argument)
    return Pickle(machine.stack.pop(), machine.storages, machine.named)


class _Machine:
    """The stack and the memo of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.storages: dict[str, np.dtype] = {}
        self.named: list[str] = []
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
            case "APPEND" | "APPENDS" | "ADDITEMS":
                values = self._take(1) if name == "APPEND" else self._take()
                if isinstance(last := self._last(Mark if name == "ADDITEMS" else list), list):
                    last.extend(values)
            case "SETITEM" | "SETITEMS":
                values = self._take(2) if name == "SETITEM" else self._take()
                if isinstance(last := self._last(dict), dict):
                    last.update(_dictionary(zip(values[::2], values[1::2], strict=True)))
            case "FROZENSET":
                self._take()
                push(Mark("frozenset"))
            case "NEWOBJ" | "NEWOBJ_EX" | "OBJ":
                count = {"NEWOBJ": 2, "NEWOBJ_EX": 3}.get(name)
                made, *_ = self._take(count)
                if not isinstance(made, Mark):
                    raise _refusal(f"{name} of {made!r:.100}")
                push(made)
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
        """Return the value on top of the stack, which has this type or is a mark."""
        if not self.stack or type(self.stack[-1]) not in (kind, Mark):
            raise ValueError(f"a {kind.__name__} is missing")
        return self.stack[-1]

    def _named(self, name: str) -> Any:
        if name in _NAMES:
            return _NAMES[name]
        mark = Mark(name.replace(" ", ".", 1)[:MAX_NAME])
        if len(self.named) < MAX_NAMED and mark.name not in self.named:
            self.named.append(mark.name)
        return mark

    def _call(self, function: Any, arguments: Any) -> Any:
        if isinstance(function, Mark) and type(arguments) is tuple:
            return function
        if not callable(function) or type(arguments) is not tuple:
            raise _refusal("a call of an unnamed object")
        if len(arguments) > MAX_ARGUMENTS:
            raise ValueError(f"a call has more than {MAX_ARGUMENTS} arguments")
        if function is _dictionary and arguments:
            self._pairs_left -= len(arguments[0])
            if self._pairs_left < 0:
                raise ValueError(f"dictionaries have more than {MAX_PAIRS:,} pairs")
        return function(*arguments)

    def _storage(self, values: Any) -> StorageReference | Mark:
        if type(values) is not tuple or values[:1] != ("storage",):
            raise _refusal("an object that is not a tensor")
        _, dtype, key, _, _, *view = values
        offset = view[0][1] if view and view[0] is not None else 0
        if isinstance(dtype, Mark):
            return dtype
        if not isinstance(dtype, np.dtype) or type(key) is not str or type(offset) is not int:
            raise ValueError("a storage lacks a dtype, a key or an offset")
        self.storages[key] = dtype
        return StorageReference(key, dtype, offset)


def _refusal(what: str) -> UserError:
    return UserError(f"it would execute or create {what}; nothing was executed. {SAVE_OTHERWISE}")
