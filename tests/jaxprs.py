"""Walks over the operations of a traced program, through the programs inside its operations."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from jax.extend.core import Var

# These change neither the values nor the number of copies that matter here.
_SAME_VALUES = {
    *("reshape", "transpose", "squeeze", "copy"),
    *("sharding_constraint", "optimization_barrier"),
}


class Operation(NamedTuple):
    """An operation, where it comes from, and what its inputs are."""

    equation: Any
    scope: str  # names of the modules and transformations around it
    origins: tuple[Any, ...]  # of each input: the label of an argument, an Operation, or None

    @property
    def name(self) -> str:
        return self.equation.primitive.name

    def dtypes(self) -> tuple[str, str]:
        """Return the dtypes of the first input and the first output."""
        first, *_ = self.equation.invars
        return str(first.aval.dtype), str(self.equation.outvars[0].aval.dtype)


def operations(jaxpr: Any, labels: dict[Any, Any], scope: str = "") -> Iterator[Operation]:
    """Yield all operations; `labels` gives the origins of input variables and gains all others."""
    for equation in jaxpr.eqns:
        origins = tuple(labels.get(v) if isinstance(v, Var) else None for v in equation.invars)
        stack = f"{scope}/{equation.source_info.name_stack}"
        operation = Operation(equation, stack, origins)
        yield operation
        inner = list(_inner(equation))
        if equation.primitive.name in _SAME_VALUES:
            labels.update(zip(equation.outvars, origins, strict=False))
        elif not inner:
            labels.update(dict.fromkeys(equation.outvars, operation))
        for program in inner:
            skipped = len(origins) - len(program.invars)  # e.g. the index of a branch
            known = dict(zip(program.invars, origins[max(skipped, 0) :], strict=False))
            yield from operations(program, known, stack)
            for outer, result in zip(equation.outvars, program.outvars, strict=False):
                labels[outer] = known.get(result) if isinstance(result, Var) else None


def _inner(equation: Any) -> Iterator[Any]:
    for value in equation.params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            program = getattr(one, "jaxpr", one)
            if hasattr(program, "eqns"):
                yield program
