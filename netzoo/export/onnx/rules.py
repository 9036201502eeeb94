"""Translates elementwise operations, and operations on shapes, of JAX to ONNX."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from netzoo.errors import UserError
from netzoo.export.onnx.graph import Graph, Shape, Tensor, Value, onnx_type, plain_order

# A rule maps the graph, the equation and the values of its inputs to the value of its output.
Rule = Callable[..., Value]
RULES: dict[str, Rule] = {}

# Elementwise operations: JAX's names and ONNX's names.
_ELEMENTWISE = {
    **{"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow", "rem": "Mod"},
    **{"abs": "Abs", "neg": "Neg", "sign": "Sign", "exp": "Exp", "log": "Log", "sqrt": "Sqrt"},
    **{"tanh": "Tanh", "logistic": "Sigmoid", "erf": "Erf", "floor": "Floor", "ceil": "Ceil"},
    **{"sin": "Sin", "cos": "Cos", "max": "Max", "min": "Min", "and": "And", "or": "Or"},
    **{"not": "Not", "eq": "Equal", "lt": "Less", "gt": "Greater"},
    **{"le": "LessOrEqual", "ge": "GreaterOrEqual"},
}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Return a decorator that registers a rule for operations."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def unsupported(equation: Any, why: str = "") -> UserError:
    """Return the error for an equation that cannot be translated."""
    return UserError(
        f"the network uses the operation {equation.primitive}{why}, which netzoo cannot write to "
        "ONNX; use --format stablehlo"
    )


def elementwise(graph: Graph, operation: str, values: Sequence[Value], rank: int) -> Tensor:
    """Add a node of an elementwise operation, in the order of axes of its first tensor."""
    tensors = [value for value in values if isinstance(value, Tensor) and len(value.order) == rank]
    order = tensors[0].order if tensors else plain_order(rank)
    names, shapes = [], []
    for value in values:
        if isinstance(value, np.ndarray):
            array = _without_repeats(value)
            array = np.transpose(array, order) if array.ndim else array
            names.append(graph.constant(array))
            shapes.append(array.shape)
        else:
            tensor = graph.ordered(value, order) if value.order else value
            names.append(tensor.name)
            shapes.append(tensor.shape)
    return Tensor(graph.emit(operation, names), _broadcast(shapes, rank), order)


def _without_repeats(array: np.ndarray) -> np.ndarray:
    """Return an array with size 1 along the axes along which it repeats itself."""
    repeats = (slice(0, 1) if step == 0 else slice(None) for step in array.strides)
    return array[tuple(repeats)]


def _broadcast(shapes: Sequence[Shape], rank: int) -> tuple[Any, ...]:
    full = [shape for shape in shapes if len(shape) == rank]
    return tuple(
        next((size for size in sizes if not (isinstance(size, int) and size == 1)), 1)
        for sizes in zip(*full, strict=True)
    )


def _rank(equation: Any) -> int:
    return equation.outvars[0].aval.ndim


@rule(*_ELEMENTWISE)
def _elementwise(graph: Graph, equation: Any, *values: Value) -> Value:
    name = equation.primitive.name
    if name == "max" and (clipped := _relu(graph, values)):
        return clipped
    if name == "min" and (clipped := _clip(graph, values)):
        return clipped
    return elementwise(graph, _ELEMENTWISE[name], values, _rank(equation))


def _scalar(value: Value) -> float | None:
    """Return the number that a known array holds everywhere."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        array = _without_repeats(value)
        return float(array.reshape(-1)[0]) if array.size == 1 else None
    return None


def _relu(graph: Graph, values: Sequence[Value]) -> Value | None:
    """Write the maximum with 0 as Relu, which runtimes join with a convolution."""
    for tensor, other in (values, values[::-1]):
        if isinstance(tensor, Tensor) and _scalar(other) == 0:
            return tensor._replace(name=graph.emit("Relu", [tensor.name]))
    return None


def _clip(graph: Graph, values: Sequence[Value]) -> Value | None:
    """Write the minimum of a Relu and a number as Clip, which runtimes join with a convolution."""
    for tensor, other in (values, values[::-1]):
        highest = _scalar(other)
        node = graph.made_by.get(tensor.name) if isinstance(tensor, Tensor) else None
        if highest is not None and node is not None and node.op_type == "Relu":
            assert isinstance(other, np.ndarray) and isinstance(tensor, Tensor)
            bounds = [graph.constant(np.array(x, other.dtype)) for x in (0, highest)]
            return tensor._replace(name=graph.emit("Clip", [*node.input, *bounds]))
    return None


@rule("copy", "copy_p", "stop_gradient", "reduce_precision", "optimization_barrier")
def _same(graph: Graph, equation: Any, value: Value) -> Value:
    return value


@rule("square")
def _square(graph: Graph, equation: Any, value: Value) -> Value:
    return elementwise(graph, "Mul", (value, value), _rank(equation))


@rule("integer_pow")
def _integer_pow(graph: Graph, equation: Any, value: Value) -> Value:
    dtype = equation.outvars[0].aval.dtype
    return elementwise(
        graph, "Pow", (value, np.array(equation.params["y"], dtype)), _rank(equation)
    )


@rule("rsqrt")
def _rsqrt(graph: Graph, equation: Any, value: Value) -> Value:
    root = elementwise(graph, "Sqrt", (value,), _rank(equation))
    return root._replace(name=graph.emit("Reciprocal", [root.name]))


@rule("erfc")
def _erfc(graph: Graph, equation: Any, value: Value) -> Value:
    rank, one = _rank(equation), np.array(1, equation.outvars[0].aval.dtype)
    return elementwise(graph, "Sub", (one, elementwise(graph, "Erf", (value,), rank)), rank)


@rule("ne")
def _differs(graph: Graph, equation: Any, *values: Value) -> Value:
    equal = elementwise(graph, "Equal", values, _rank(equation))
    return equal._replace(name=graph.emit("Not", [equal.name]))


@rule("select_n")
def _select(graph: Graph, equation: Any, which: Value, *cases: Value) -> Value:
    if len(cases) != 2 or equation.invars[0].aval.dtype != bool:
        raise unsupported(equation, " with more than two cases")
    return elementwise(graph, "Where", (which, cases[1], cases[0]), _rank(equation))


@rule("clamp")
def _clamp(graph: Graph, equation: Any, low: Value, value: Value, high: Value) -> Value:
    rank = _rank(equation)
    return elementwise(graph, "Min", (elementwise(graph, "Max", (value, low), rank), high), rank)


@rule("convert_element_type")
def _cast(graph: Graph, equation: Any, tensor: Tensor) -> Value:
    new = equation.params["new_dtype"]
    if equation.invars[0].aval.dtype == new:
        return tensor
    return tensor._replace(name=graph.emit("Cast", [tensor.name], to=onnx_type(new)))


@rule("transpose")
def _transpose(graph: Graph, equation: Any, tensor: Tensor) -> Value:
    old = equation.params["permutation"]
    return tensor._replace(order=tuple(old.index(axis) for axis in tensor.order))


@rule("reshape", "squeeze", "expand_dims")
def _reshape(graph: Graph, equation: Any, value: Value) -> Value:
    name = graph.array(value, equation.invars[0].aval.shape)
    return graph.reshape(name, equation.outvars[0].aval.shape)


@rule("broadcast_in_dim")
def _broadcast_in_dim(graph: Graph, equation: Any, value: Value, *_: Value) -> Value:
    """Insert axes of size 1, which later operations repeat."""
    axes = equation.params["broadcast_dimensions"]
    rank = _rank(equation)
    if isinstance(value, np.ndarray):
        array = _without_repeats(value)
        sizes = [array.shape[axes.index(axis)] if axis in axes else 1 for axis in range(rank)]
        return Tensor(graph.constant(array.reshape(sizes)), tuple(sizes), plain_order(rank))
    if len(axes) == rank:
        return value
    value = graph.ordered(value, plain_order(len(axes)))
    shape = [value.shape[axes.index(axis)] if axis in axes else 1 for axis in range(rank)]
    return graph.reshape(value.name, shape)


@rule("concatenate")
def _concatenate(graph: Graph, equation: Any, *values: Value) -> Value:
    order = next(value.order for value in values if isinstance(value, Tensor))
    names = [
        graph.array(value, variable.aval.shape, order)
        for value, variable in zip(values, equation.invars, strict=True)
    ]
    axis = order.index(equation.params["dimension"])
    full = equation.outvars[0].aval.shape
    return Tensor(graph.emit("Concat", names, axis=axis), tuple(full[i] for i in order), order)


@rule("slice")
def _slice(graph: Graph, equation: Any, tensor: Tensor) -> Value:
    params = equation.params
    steps = params["strides"] or (1,) * _rank(equation)
    return sliced(graph, tensor, equation, params["start_indices"], params["limit_indices"], steps)


def sliced(
    graph: Graph, tensor: Tensor, equation: Any, starts: Shape, limits: Shape, steps: Sequence[int]
) -> Tensor:
    """Slice a tensor along the axes of which a part is left out."""
    full = equation.invars[0].aval.shape
    cut = [
        axis
        for axis, bounds in enumerate(zip(starts, limits, steps, strict=True))
        if not (bounds[0] == 0 and bounds[1] == full[axis] and bounds[2] == 1)
    ]
    if not cut:
        return tensor
    if not all(
        isinstance(x, int | np.integer) for axis in cut for x in (starts[axis], limits[axis])
    ):
        raise unsupported(equation, " with sizes that depend on the input")
    name = graph.array(tensor, full, tensor.order)
    places = [tensor.order.index(axis) for axis in cut]
    bounds = ([values[axis] for axis in cut] for values in (starts, limits))
    inputs = [*bounds, places, [steps[axis] for axis in cut]]
    name = graph.emit("Slice", [name, *map(graph.integers, inputs)])
    shape = list(full)
    for axis in cut:
        shape[axis] = -(-(int(limits[axis]) - int(starts[axis])) // steps[axis])
    return Tensor(name, tuple(shape[axis] for axis in tensor.order), tensor.order)


@rule("gather")
def _gather(graph: Graph, equation: Any, operand: Value, indices: Value) -> Value:
    """Translate slices at known places, and rows of a table."""
    params, shape = equation.params, equation.outvars[0].aval.shape
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    if isinstance(indices, np.ndarray) and indices.ndim == 1 and isinstance(operand, Tensor):
        starts = [0] * len(sizes)
        for axis, start in zip(numbers.start_index_map, indices.tolist(), strict=True):
            starts[axis] = start
        limits = [start + size for start, size in zip(starts, sizes, strict=True)]
        part = sliced(graph, operand, equation, starts, limits, (1,) * len(sizes))
        return graph.reshape(graph.array(part, sizes), shape)
    rank, in_order = len(sizes), tuple(range(indices_rank(equation) - 1, len(shape)))
    rows = (1, *equation.invars[0].aval.shape[1:])
    is_table = numbers.start_index_map == numbers.collapsed_slice_dims == (0,) and rank > 1
    if not is_table or tuple(sizes) != rows or numbers.offset_dims != in_order:
        raise unsupported(equation)
    flat = equation.invars[1].aval.shape
    which = graph.reshape(graph.array(indices, flat), flat[:-1])
    name = graph.emit("Gather", [graph.array(operand, equation.invars[0].aval.shape), which.name])
    return Tensor(name, tuple(shape), plain_order(len(shape)))


def indices_rank(equation: Any) -> int:
    """Return the number of axes of the indices of a gather."""
    return equation.invars[1].aval.ndim
