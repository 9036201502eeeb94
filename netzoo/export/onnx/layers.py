"""Translates convolutions, matrix products, pooling and sums of JAX to ONNX."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import helper

from netzoo.export.onnx.graph import Graph, Shape, Tensor, Value, onnx_type, plain_order, product
from netzoo.export.onnx.rules import RULES, rule, unsupported

_REDUCTIONS = {
    **{"reduce_sum": "ReduceSum", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin"},
    "reduce_prod": "ReduceProd",
}


@rule(*_REDUCTIONS)
def _reduce(graph: Graph, equation: Any, tensor: Tensor) -> Value:
    axes, full = equation.params["axes"], equation.invars[0].aval.shape
    name = graph.array(tensor, full, tensor.order)
    stored = [tensor.order.index(axis) for axis in axes]
    operation = _REDUCTIONS[equation.primitive.name]
    name = graph.emit(operation, [name, graph.integers(stored)], keepdims=0)
    kept = [axis for axis in range(len(full)) if axis not in axes]
    order = [kept.index(axis) for axis in tensor.order if axis in kept]
    return Tensor(name, tuple(full[kept[axis]] for axis in order), tuple(order))


@rule("argmax")
def _argmax(graph: Graph, equation: Any, tensor: Tensor) -> Value:
    [axis] = equation.params["axes"]
    name = graph.array(tensor, equation.invars[0].aval.shape)
    name = graph.emit("ArgMax", [name], axis=axis, keepdims=0)
    result = equation.outvars[0].aval
    if result.dtype != np.int64:
        name = graph.emit("Cast", [name], to=onnx_type(result.dtype))
    return Tensor(name, tuple(result.shape), plain_order(result.ndim))


@rule("conv_general_dilated")
def _conv(graph: Graph, equation: Any, images: Tensor, kernel: Value) -> Value:
    params = equation.params
    if any(step != 1 for step in params["lhs_dilation"]) or params["batch_group_count"] != 1:
        raise unsupported(equation, " that is transposed")
    numbers = params["dimension_numbers"]
    inputs = [
        graph.array(images, equation.invars[0].aval.shape, numbers.lhs_spec),
        graph.array(kernel, equation.invars[1].aval.shape, numbers.rhs_spec),
    ]
    name = graph.emit(
        "Conv",
        inputs,
        strides=list(params["window_strides"]),
        dilations=list(params["rhs_dilation"]),
        group=params["feature_group_count"],
        pads=_pads(params["padding"]),
    )
    full, order = equation.outvars[0].aval.shape, tuple(numbers.out_spec)
    return Tensor(name, tuple(full[axis] for axis in order), order)


def _pads(padding: Sequence[tuple[int, int]]) -> list[int]:
    """Return the padding before every axis, followed by the padding behind every axis."""
    return [int(low) for low, _ in padding] + [int(high) for _, high in padding]


_add = RULES["add"]


@rule("add")
def _add_bias(graph: Graph, equation: Any, *values: Value) -> Value:
    """Write the sum of a convolution and a number for each channel as a bias of the convolution."""
    for tensor, other in (values, values[::-1]):
        if not isinstance(tensor, Tensor):
            continue
        bias = _of_channels(other, tensor)
        node = graph.made_by.get(tensor.name)
        if (
            bias is not None
            and node is not None
            and node.op_type == "Conv"
            and len(node.input) == 2
        ):
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            name = graph.emit("Conv", [*node.input, graph.constant(bias)], **attributes)
            return tensor._replace(name=name)
    return _add(graph, equation, *values)


def _of_channels(value: Value, tensor: Tensor) -> np.ndarray | None:
    """Return a constant with one number for each channel, or None for any other value.

    The channels are the second stored axis of `tensor`.
    """
    if not isinstance(value, np.ndarray) or value.ndim != len(tensor.order) or value.ndim < 3:
        return None
    channels = tensor.order[1]
    others = [size for axis, size in enumerate(value.shape) if axis != channels]
    if product(others) != 1 or value.shape[channels] != tensor.shape[1]:
        return None
    return value.reshape(-1)


@rule("reduce_window_max")
def _max_pool(graph: Graph, equation: Any, images: Tensor) -> Value:
    params, full = equation.params, equation.invars[0].aval.shape
    window = params["window_dimensions"]
    spatial = [axis for axis, size in enumerate(window) if size != 1]
    others = [axis for axis in range(len(full)) if axis not in spatial]
    if len(others) != 2 or any(step != 1 for step in params["base_dilation"]):
        raise unsupported(equation, " over other axes than height and width")
    order = (others[0], others[1], *spatial)
    name = graph.emit(
        "MaxPool",
        [graph.array(images, full, order)],
        kernel_shape=[window[axis] for axis in spatial],
        strides=[params["window_strides"][axis] for axis in spatial],
        dilations=[params["window_dilation"][axis] for axis in spatial],
        pads=_pads([params["padding"][axis] for axis in spatial]),
    )
    shape = equation.outvars[0].aval.shape
    return Tensor(name, tuple(shape[axis] for axis in order), order)


@rule("pad")
def _pad(graph: Graph, equation: Any, tensor: Tensor, value: Value) -> Value:
    config = [equation.params["padding_config"][axis] for axis in tensor.order]
    if any(inner for _, _, inner in config) or any(min(low, high) < 0 for low, high, _ in config):
        raise unsupported(equation, " between elements")
    name = graph.array(tensor, equation.invars[0].aval.shape, tensor.order)
    pads = graph.integers(_pads([(low, high) for low, high, _ in config]))
    name = graph.emit("Pad", [name, pads, graph.array(value, ())])
    full = equation.outvars[0].aval.shape
    return Tensor(name, tuple(full[axis] for axis in tensor.order), tensor.order)


@rule("dot_general")
def _dot(graph: Graph, equation: Any, left: Value, right: Value) -> Value:
    """Write a product as MatMul of `[batch, rows, inner]` and `[batch, inner, columns]`.

    `rows`, `inner` and `columns` may each be several merged axes. Without batch axes, the axes of
    the rows stay separate.
    """
    (left_inner, right_inner), (left_batch, right_batch) = equation.params["dimension_numbers"]
    left_shape, right_shape = (variable.aval.shape for variable in equation.invars)
    rows = _others(left_shape, left_batch, left_inner)
    columns = _others(right_shape, right_batch, right_inner)
    split_rows = not left_batch and len(rows) > 1 and not isinstance(left, np.ndarray)
    row_groups = [[axis] for axis in rows] if split_rows else [rows]
    batch = [[axis] for axis in left_batch]
    names = (
        _merged(graph, left, left_shape, [*batch, *row_groups, left_inner]),
        _merged(
            graph, right, right_shape, [*([axis] for axis in right_batch), right_inner, columns]
        ),
    )
    name, shape = graph.emit("MatMul", names), equation.outvars[0].aval.shape
    if len(columns) == 1 and (split_rows or len(rows) == 1):
        return Tensor(name, tuple(shape), plain_order(len(shape)))
    return graph.reshape(name, shape)


def _others(shape: Shape, *used: Sequence[int]) -> list[int]:
    taken = [axis for axes in used for axis in axes]
    return [axis for axis in range(len(shape)) if axis not in taken]


def _merged(graph: Graph, value: Value, shape: Shape, groups: Sequence[Sequence[int]]) -> str:
    """Return an array with an axis for each group of axes of a value."""
    order = [axis for group in groups for axis in group]
    sizes = [product(shape[axis] for axis in group) for group in groups]
    if isinstance(value, np.ndarray):
        return graph.constant(np.transpose(value, order).reshape(sizes))
    name = graph.array(value, shape, order)
    return name if all(len(group) == 1 for group in groups) else graph.reshape(name, sizes).name
