"""Reads the pickles that PyTorch writes without executing them.

Python's own unpickler imports and calls whatever a file names. Here the operations are read one by
one and followed on a stack of plain values; the only calls known are those that rebuild tensors
and dictionaries, and they are not made but recorded.
"""

import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from netzoo.errors import UserError


class StorageReference(NamedTuple):
    """A piece of memory that lies elsewhere in the file.

    Attributes:
      key: Its name there.
      kind: PyTorch's class of it, e.g. `"FloatStorage"`.
      offset: Index of its first element, where it is a view of another one.
    """

    key: str
    kind: str
    offset: int = 0


class TensorReference(NamedTuple):
    """A tensor, before its values are read; offset and strides count elements."""

    storage: StorageReference
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Global(NamedTuple):
    module: str
    name: str


STORAGES = (
    "DoubleStorage",
    "FloatStorage",
    "HalfStorage",
    "BFloat16Storage",
    "LongStorage",
    "IntStorage",
    "ShortStorage",
    "CharStorage",
    "ByteStorage",
    "BoolStorage",
)


# Of a tensor, as of NumPy's arrays.
MOST_AXES = 64
# Entries of all dictionaries that are made of lists: a list may be used again and again, and each
# time its entries take memory anew.
MOST_PAIRS = 1 << 20


def _tensor(storage, offset, shape, strides, *rest) -> TensorReference:
    if max(len(shape), len(strides)) > MOST_AXES:
        raise ValueError(f"a tensor of more than {MOST_AXES} axes")
    sizes = (offset, *shape, *strides)
    if not isinstance(storage, StorageReference) or not all(type(n) is int for n in sizes):
        raise ValueError("a tensor without storage or with a size that is no number")
    return TensorReference(storage, offset, tuple(shape), tuple(strides))


def _parameter(tensor, *rest) -> TensorReference:
    return tensor


def _ordered_dict(pairs=()) -> dict:
    return _pairs([value for pair in pairs for value in pair])


_CALLS: dict[_Global, Callable[..., Any]] = {
    _Global("torch._utils", "_rebuild_tensor_v2"): _tensor,
    _Global("torch._utils", "_rebuild_parameter"): _parameter,
    _Global("collections", "OrderedDict"): _ordered_dict,
}
_CLASSES = {_Global("torch", name) for name in STORAGES}

_MARK = object()
_CONSTANTS = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: _MARK,
}
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING",
    "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "UNICODE",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
}  # fmt: skip
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING = {"PROTO", "FRAME"}


def unpickle(file: BinaryIO, what: str) -> Any:
    """Reads one pickle from the position of `file` and leaves that after its end.

    Args:
      file: Open for reading bytes.
      what: The file, named in errors.

    Returns:
      Numbers, strings, lists, tuples, dictionaries and `TensorReference`s.

    Raises:
      UserError: The pickle names anything but tensors and dictionaries, or does not follow the
        format.
    """
    machine = _Machine(what)
    try:
        for operation, argument, _ in pickletools.genops(file):
            if operation.name == "STOP":
                return machine.stack.pop()
            machine.step(operation.name, argument)
    except UserError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, MemoryError) as error:
        raise UserError(f"{what} is damaged or no file of PyTorch: {error}") from None
    raise UserError(f"{what} ends in the middle")


class _Machine:
    """The stack and the memo of a pickle."""

    def __init__(self, what: str):
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._pairs_left = MOST_PAIRS
        self._what = what

    def step(self, name: str, argument: Any) -> None:
        """Follows one operation."""
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _LITERALS:
            self.stack.append(argument)
        elif name in _TUPLES:
            self.stack.append(tuple(self._take(_TUPLES[name])))
        elif name not in _NOTHING:
            follow = getattr(self, f"_{name.lower()}", None)
            if follow is None:
                raise self._refusal(f"{argument or ''} ({name})".strip())
            follow(argument)

    def _refusal(self, found: str) -> UserError:
        return UserError(
            f"{self._what} wants to run or build {found}, which a file of weights has no need of; "
            "nothing was run. Save the state dict alone: torch.save(model.state_dict(), PATH), or "
            "as .safetensors"
        )

    def _take(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise ValueError("values are missing")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def _take_to_mark(self) -> list[Any]:
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _MARK:
                values = self.stack[index + 1 :]
                del self.stack[index:]
                return values
        raise ValueError("a mark is missing")

    def _last(self, kind: type) -> Any:
        if not self.stack or type(self.stack[-1]) is not kind:
            raise ValueError(f"a {kind.__name__} is missing")
        return self.stack[-1]

    def _pop_mark(self, _) -> None:
        self._take_to_mark()

    def _pop(self, _) -> None:
        self._take(1)

    def _dup(self, _) -> None:
        self.stack.append(self.stack[-1])

    def _tuple(self, _) -> None:
        self.stack.append(tuple(self._take_to_mark()))

    def _list(self, _) -> None:
        self.stack.append(self._take_to_mark())

    def _dict(self, _) -> None:
        self.stack.append(_pairs(self._take_to_mark()))

    def _append(self, _) -> None:
        (value,) = self._take(1)
        self._last(list).append(value)

    def _appends(self, _) -> None:
        values = self._take_to_mark()
        self._last(list).extend(values)

    def _setitem(self, _) -> None:
        values = self._take(2)
        self._last(dict).update(_pairs(values))

    def _setitems(self, _) -> None:
        values = self._take_to_mark()
        self._last(dict).update(_pairs(values))

    def _put(self, index: int) -> None:
        self._memo[index] = self.stack[-1]

    def _memoize(self, _) -> None:
        self._memo[len(self._memo)] = self.stack[-1]

    def _get(self, index: int) -> None:
        self.stack.append(self._memo[index])

    _binput = _long_binput = _put
    _binget = _long_binget = _get

    def _global(self, argument: str) -> None:
        found = _Global(*argument.split(" ", 1))
        if found not in _CALLS and found not in _CLASSES:
            raise self._refusal(f"{found.module}.{found.name}")
        self.stack.append(found)

    def _stack_global(self, _) -> None:
        self._global(" ".join(self._take(2)))

    def _reduce(self, _) -> None:
        call, arguments = self._take(2)
        if type(call) is not _Global or call not in _CALLS:
            raise self._refusal("a call of something without a name")
        if call.name == "OrderedDict":
            self._pairs_left -= sum(map(len, arguments))
            if self._pairs_left < 0:
                raise ValueError(f"dictionaries made of more than {MOST_PAIRS:,} pairs")
        self.stack.append(_CALLS[call](*arguments))

    def _build(self, _) -> None:
        # A state dict carries the versions of its modules as an attribute.
        self._take(1)
        self._last(dict)

    def _binpersid(self, _) -> None:
        (values,) = self._take(1)
        if type(values) is not tuple or not values or values[0] != "storage":
            raise self._refusal("an object that is no tensor")
        _, kind, key, _, _, *view = values
        offset = view[0][1] if view and view[0] is not None else 0
        if type(kind) is not _Global or kind not in _CLASSES:
            raise ValueError("a storage of an unknown kind")
        if type(key) is not str or type(offset) is not int:
            raise ValueError("a storage without a key")
        self.stack.append(StorageReference(key, kind.name, offset))


def _pairs(values: list[Any]) -> dict:
    if not all(type(key) in (str, int) for key in values[::2]):
        raise ValueError("a dictionary with keys that are neither text nor whole numbers")
    return dict(zip(values[::2], values[1::2], strict=True))
