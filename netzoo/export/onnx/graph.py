"""An ONNX graph that grows node by node, and its tensors, whose axes may be stored in any order.

JAX's images are channels-last, and the convolutions of ONNX are channels-first. A tensor therefore
remembers the order in which its axes are stored. A transposition only changes this order, and nodes
for it appear only where an operation needs another order than its input has.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from netzoo.errors import UserError

OPSET, IR_VERSION = 22, 10
Dim = Any  # a number, or a symbolic dimension of JAX
Shape = Sequence[Dim]


class Tensor(NamedTuple):
    """The result of a node, an input, or a constant of the graph.

    `shape` is the shape of the stored array. An axis of size 1 may stand for any size, because
    elementwise operations of ONNX repeat it.
    """

    name: str
    shape: tuple[Dim, ...]
    order: tuple[int, ...]  # for each stored axis, the axis of the value


Value = np.ndarray | Tensor  # an array is a constant


def plain_order(rank: int) -> tuple[int, ...]:
    """Return the order of an array whose axes are stored as they are."""
    return tuple(range(rank))


class Graph:
    """The nodes and constants of a graph."""

    def __init__(self) -> None:
        """Start without nodes."""
        self.scope = ""  # the layer whose operations are being translated, for names
        self.made_by: dict[str, onnx.NodeProto] = {}  # nodes by the name of their result, in order
        self.constants: dict[str, np.ndarray] = {}
        self._constant_names: dict[tuple, str] = {}
        self._transposed: dict[tuple, str] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._sizes: dict[str, tuple[str, int]] = {}  # input and axis by symbolic dimension

    def input(self, name: str, shape: Shape, dtype: np.dtype) -> Tensor:
        """Add an input."""
        self._inputs.append(_value_info(name, shape, dtype))
        for axis, size in enumerate(shape):
            if not isinstance(size, int):
                self._sizes.setdefault(str(size), (name, axis))
        return Tensor(name, tuple(shape), plain_order(len(shape)))

    def emit(self, operation: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node, and return the name of its result."""
        name = f"{self.scope}/{operation}_{len(self.made_by)}"
        self.made_by[name] = helper.make_node(operation, inputs, [name], name=name, **attributes)
        return name

    def constant(self, array: np.ndarray) -> str:
        """Return the name of a constant; equal constants have one name."""
        key = (array.shape, array.dtype.str, array.tobytes())
        if key not in self._constant_names:
            name = f"{self.scope}/constant_{len(self.constants)}"
            self._constant_names[key] = name
            self.constants[name] = np.ascontiguousarray(array).reshape(array.shape)
        return self._constant_names[key]

    def integers(self, values: Iterable[int]) -> str:
        """Return the name of an int64 constant, e.g. a shape or a list of axes."""
        return self.constant(np.array(list(values), np.int64))

    def sizes(self, shape: Shape) -> str:
        """Return the name of a vector of the sizes, for nodes that need a shape.

        Raises:
          UserError: A size is an expression of the sizes of the inputs.
        """
        if all(isinstance(size, int) for size in shape):
            return self.integers(shape)
        parts = []
        for size in shape:
            if isinstance(size, int):
                parts.append(self.integers([size]))
            elif str(size) in self._sizes:
                name, axis = self._sizes[str(size)]
                parts.append(self.emit("Shape", [name], start=axis, end=axis + 1))
            else:
                raise UserError(f"the network needs the size {size}, which ONNX cannot compute")
        return self.emit("Concat", parts, axis=0) if len(parts) > 1 else parts[0]

    def ordered(self, tensor: Tensor, order: Sequence[int]) -> Tensor:
        """Return a tensor with the same value, stored in the given order of axes."""
        order = tuple(order)
        if tensor.order == order:
            return tensor
        axes = [tensor.order.index(axis) for axis in order]
        key = (tensor.name, *axes)
        if key not in self._transposed:
            self._transposed[key] = self.emit("Transpose", [tensor.name], perm=axes)
        return Tensor(self._transposed[key], tuple(tensor.shape[axis] for axis in axes), order)

    def array(self, value: Value, shape: Shape, order: Sequence[int] | None = None) -> str:
        """Return the name of an array with a value, expanded to a shape and stored in an order."""
        order = plain_order(len(shape)) if order is None else tuple(order)
        if isinstance(value, np.ndarray):
            return self.constant(np.transpose(value, order))
        value = self.ordered(value, order)
        full = tuple(shape[axis] for axis in order)
        if value.shape == full:
            return value.name
        return self.emit("Expand", [value.name, self.sizes(full)])

    def reshape(self, name: str, shape: Shape) -> Tensor:
        """Reshape a full array in plain order."""
        symbolic = [size for size in shape if not isinstance(size, int)]
        if len(symbolic) == 1:  # ONNX computes one size itself
            sizes = self.integers(size if isinstance(size, int) else -1 for size in shape)
        else:
            sizes = self.sizes(shape)
        result = self.emit("Reshape", [name, sizes])
        return Tensor(result, tuple(shape), plain_order(len(shape)))

    def model(
        self, name: str, outputs: Sequence[tuple[str, str, Shape, np.dtype]]
    ) -> onnx.ModelProto:
        """Return a model of the nodes and constants on which the outputs depend.

        An output is the name of an array, its name in the file, its shape and its dtype.
        """
        for array, output, _, _ in outputs:
            self.made_by[output] = helper.make_node("Identity", [array], [output], name=output)
        needed, used = {output for _, output, _, _ in outputs}, []
        for result, node in reversed(self.made_by.items()):
            if result in needed:
                needed.update(node.input)
                used.append(node)
        constants = [
            numpy_helper.from_array(array, constant)
            for constant, array in self.constants.items()
            if constant in needed
        ]
        infos = [_value_info(output, shape, dtype) for _, output, shape, dtype in outputs]
        graph = helper.make_graph(used[::-1], name, self._inputs, infos, constants)
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="netzoo",
        )


def _value_info(name: str, shape: Shape, dtype: np.dtype) -> onnx.ValueInfoProto:
    sizes = [size if isinstance(size, int) else str(size) for size in shape]
    return helper.make_tensor_value_info(name, onnx_type(dtype), sizes)


def onnx_type(dtype: np.dtype) -> int:
    """Return ONNX's number of a dtype."""
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def product(sizes: Iterable[Dim]) -> Dim:
    """Return the product of sizes, which may be symbolic."""
    return math.prod(sizes)
