"""Interprets a traced program, and writes what depends on its inputs to an ONNX graph.

What depends on constants alone, such as the standardised kernels of hybrid networks, is computed
here. Calls are inlined, and loops over stacked layers are unrolled.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import onnx
from jax.extend import core

from netzoo.export.onnx import layers  # noqa: F401  registers its rules
from netzoo.export.onnx.graph import Graph, Value
from netzoo.export.onnx.rules import RULES, unsupported
from netzoo.export.program import Program
from netzoo.kernels import use_backend


def to_model(program: Program) -> onnx.ModelProto:
    """Translate a program.

    Raises:
      UserError: An operation cannot be translated.
    """
    arguments = program.arguments()
    with use_backend("native"):
        closed = jax.make_jaxpr(program.function)(*arguments)
    graph = Graph()
    inputs = [
        graph.input(name, argument.shape, argument.dtype)
        for name, argument in zip(program.inputs, arguments, strict=True)
    ]
    results = interpret(graph, closed, inputs)
    outputs = [
        (graph.array(result, aval.shape), name, aval.shape, aval.dtype)
        for name, result, aval in zip(program.outputs, results, closed.out_avals, strict=True)
    ]
    return graph.model(str(program.metadata.get("model", "network")), outputs)


def interpret(graph: Graph, closed: Any, inputs: Sequence[Value]) -> list[Value]:
    """Return the outputs of a closed jaxpr for inputs, after adding its operations to a graph."""
    jaxpr = closed.jaxpr
    values: dict[Any, Value] = dict(
        zip(jaxpr.constvars, map(np.asarray, closed.consts), strict=True)
    )
    values |= dict(zip(jaxpr.invars, inputs, strict=True))

    def value_of(variable: Any) -> Value:
        if isinstance(variable, core.Literal):
            literal: Any = variable
            return np.asarray(literal.val, literal.aval.dtype)
        return values[variable]

    outer = graph.scope
    for equation in jaxpr.eqns:
        graph.scope = "/".join(filter(None, (outer, str(equation.source_info.name_stack))))
        found = _results(graph, equation, [value_of(variable) for variable in equation.invars])
        values |= dict(zip(equation.outvars, found, strict=True))
    graph.scope = outer
    return [value_of(variable) for variable in jaxpr.outvars]


def _results(graph: Graph, equation: Any, values: list[Value]) -> list[Value]:
    """Return the outputs of an equation."""
    name = equation.primitive.name
    inner = equation.params.get("jaxpr") or equation.params.get("call_jaxpr")
    if name == "scan":
        return _unrolled(graph, equation, values)
    if inner is not None and name != "while":
        closed = inner if hasattr(inner, "consts") else core.ClosedJaxpr(inner, ())
        return interpret(graph, closed, values)
    if all(isinstance(value, np.ndarray) for value in values) and _is_static(equation):
        return _computed(equation, values)
    if name not in RULES:
        raise unsupported(equation)
    return [RULES[name](graph, equation, *values)]


def _is_static(equation: Any) -> bool:
    return all(isinstance(size, int) for out in equation.outvars for size in out.aval.shape)


def _computed(equation: Any, values: list[Any]) -> list[Value]:
    """Compute an operation on constants."""
    if equation.primitive.name == "broadcast_in_dim":  # without copies of the values
        shape, axes = equation.outvars[0].aval.shape, equation.params["broadcast_dimensions"]
        sizes = [values[0].shape[axes.index(i)] if i in axes else 1 for i in range(len(shape))]
        return [np.broadcast_to(values[0].reshape(sizes), shape)]
    found = equation.primitive.bind(*map(jax.numpy.asarray, values), **equation.params)
    return [np.asarray(x) for x in (found if equation.primitive.multiple_results else [found])]


def _unrolled(graph: Graph, equation: Any, values: list[Value]) -> list[Value]:
    """Write a loop over stacked constants, step by step."""
    params = equation.params
    body = getattr(params["jaxpr"], "jaxpr", params["jaxpr"])
    # The inputs are constants, the carried state and stacked values. Each step gets one layer of
    # the stacked values, with one axis less. Releases of JAX count the inputs in different ways.
    carried = len(equation.outvars)
    first = sum(map(_same_rank, equation.invars, body.invars))
    constants, state = values[: first - carried], values[first - carried : first]
    stacked = values[first:]
    collects = not all(map(_same_rank, equation.outvars, body.outvars))
    if collects or not all(isinstance(x, np.ndarray) for x in stacked):
        raise unsupported(equation, " over inputs")
    steps = range(params["length"])
    for step in reversed(steps) if params["reverse"] else steps:
        layer = [x[step] for x in stacked if isinstance(x, np.ndarray)]
        state = interpret(graph, params["jaxpr"], [*constants, *state, *layer])
    return state


def _same_rank(x: Any, y: Any) -> bool:
    return x.aval.ndim == y.aval.ndim
