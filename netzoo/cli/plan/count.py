"""Counts the products of a traced program: convolutions and matrix products.

XLA counts the body of a loop once, so the operations of networks with scanned blocks come from
here. The other operations of a step are few in comparison and fused with the products.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from jax.extend.core import ClosedJaxpr, Jaxpr


class Products(NamedTuple):
    """The sums over all products of a program, every iteration of loops included.

    Attributes:
      flops: Two operations for each multiplication with an addition.
      bytes: Operands and results.
      repeated: The part of `bytes` after the first iteration of loops.
    """

    flops: float = 0.0
    bytes: float = 0.0
    repeated: float = 0.0

    def plus(self, other: "Products", times: int = 1) -> "Products":
        """Add another count several times; all but the first time count as repeated."""
        repeated = other.repeated + (times - 1) * other.bytes
        return Products(
            self.flops + times * other.flops,
            self.bytes + times * other.bytes,
            self.repeated + repeated,
        )


def count_products(jaxpr: Jaxpr) -> Products:
    """Count the products of a program; for a condition, those of the largest branch.

    A loop without a known number of iterations counts once.
    """
    total = Products()
    for equation in jaxpr.eqns:
        if (flops := _flops(equation)) is not None:
            arrays: list[Any] = [v.aval for v in (*equation.invars, *equation.outvars)]
            size = sum(a.size * a.dtype.itemsize for a in arrays)
            total = total.plus(Products(flops, size))
            continue
        inner = [count_products(each) for each in _inner(equation.params)]
        if equation.primitive.name == "cond":
            inner = [max(inner)]
        for each in inner:
            total = total.plus(each, equation.params.get("length", 1))
    return total


def _inner(params: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in params.values():
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, ClosedJaxpr):
                yield each.jaxpr
            elif isinstance(each, Jaxpr):
                yield each


def _flops(equation: Any) -> float | None:
    """Return the operations of a product, or None for other equations."""
    shapes = [v.aval.shape for v in (*equation.invars, *equation.outvars)]
    params = equation.params
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        return 2.0 * math.prod(shapes[2]) * math.prod(shapes[0][axis] for axis in contracted)
    if equation.primitive.name == "conv_general_dilated":
        outputs = params["dimension_numbers"].rhs_spec[0]
        taps = math.prod(shapes[1]) // shapes[1][outputs]
        # Products with the zeros between dilated inputs are not needed.
        return 2.0 * math.prod(shapes[2]) * taps / math.prod(params["lhs_dilation"])
    return None
