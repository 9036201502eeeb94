"""Counts the parameters and multiply-adds of networks, and checks variables, by tracing."""

import functools
import math
from collections import defaultdict
from typing import Any, NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
from chex import ArrayTree

from netzoo.errors import UserError
from netzoo.kernels import use_backend

SHOWN = 8  # maximum number of variables in an error; for the others, it gives only their number
TEXT_LENGTH = 16  # tokens of the example for networks on text


class Part(NamedTuple):
    """A stage of a network."""

    name: str  # e.g. `stem`, `stage1`, `logits`
    shape: tuple[int, ...]  # of the output for one example, including the batch axis
    parameters: int  # trainable scalars
    macs: int  # multiply-adds of convolutions, dense layers and attention products


class Summary(NamedTuple):
    """Totals of a network, which are the sums over its parts."""

    parameters: int
    statistics: int  # number of BatchNorm's running statistics, which are not trained
    macs: int  # for one example
    parts: list[Part]  # in order of computation


def example_inputs(image_size: int) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Return the shapes of one example: an image, or, for size 0, source and target tokens."""
    if image_size:
        return (jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32),)
    return (jax.ShapeDtypeStruct((1, TEXT_LENGTH), jnp.int32),) * 2


def variable_shapes(model: nn.Module, image_size: int) -> Any:
    """Return the shapes of a network's variables without computing them."""
    init = functools.partial(model.init, train=False)
    key = jax.eval_shape(jax.random.key, 0)  # a key itself would take two compiled programs
    with use_backend("native"):  # the same shapes, from fewer operations to trace
        return jax.eval_shape(init, key, *example_inputs(image_size))


def check_variables(model: nn.Module, variables: ArrayTree, shapes: ArrayTree) -> None:
    """Check that variables have the names and `shapes` of the network's own variables.

    Raises:
      UserError: Names or shapes differ; the message lists the differences.
    """
    expected, got = (
        {name: leaf.shape for name, leaf in flax.traverse_util.flatten_dict(tree, sep="/").items()}
        for tree in (shapes, variables)
    )
    wrong = [
        f"  {name}: expected {expected.get(name, 'nothing')}, got {got.get(name, 'nothing')}"
        for name in expected | got
        if expected.get(name) != got.get(name)
    ]
    if wrong:
        more = [f"  and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
        first = f"the variables do not belong to this {type(model).__name__}:"
        remedy = (
            "Use the network that the variables were made for, with its options and image size."
        )
        raise UserError("\n".join([first, *wrong[:SHOWN], *more, remedy]))


def model_summary(model: nn.Module, image_size: int) -> Summary:
    """Summarise a network in evaluation on one example; see `example_inputs` for `image_size`."""
    variables = variable_shapes(model, image_size)
    outputs: dict[str, tuple[int, ...]] = {}

    def note(next_call, args, kwargs, context):
        result = next_call(*args, **kwargs)
        path, first = context.module.path, jax.tree.leaves(result)[:1]
        if len(path) == 1 and first:
            outputs[_part_of(path[0])] = first[0].shape
        return result

    # The native backend traces every convolution and product as one operation.
    with use_backend("native"), nn.intercept_methods(note):
        apply = functools.partial(model.apply, train=False)
        closed = jax.make_jaxpr(apply)(variables, *example_inputs(image_size))
    macs: dict[str, int] = defaultdict(int)
    _add_macs(closed.jaxpr, "", 1, macs)
    parameters: dict[str, int] = defaultdict(int)
    for path, leaf in flax.traverse_util.flatten_dict(variables["params"]).items():
        parameters[_part_of(path[0])] += leaf.size
    names = dict.fromkeys([*outputs, *parameters, *macs])
    parts = [
        Part(name, outputs.get(name, ()), parameters[name], macs[name])
        for name in names
        if parameters[name] or macs[name]
    ]
    statistics = sum(x.size for x in jax.tree.leaves(variables.get("batch_stats", {})))
    return Summary(sum(parameters.values()), statistics, sum(macs.values()), parts)


def _module_of(stack: str) -> str:
    """Return `stem` for `Model/Model.encode/vmap(...)/stem/conv`, "" for `Model/pk,nkc->npc`."""
    names = [name for part in stack.split("/") if (name := part.split(".")[0]).isidentifier()]
    inner = [name for name in names if name != names[0]]
    return _part_of(inner[0]) if inner else ""


def _part_of(module: str) -> str:
    """Return the part of a module, e.g. `stage2` for `stage2_block3`, `stem` for `stem_norm`."""
    return module.split("_block")[0].removesuffix("_norm")


def _add_macs(jaxpr, prefix: str, times: int, macs: dict[str, int]) -> None:
    """Add the multiply-adds of a traced program to the counts of its modules."""
    for equation in jaxpr.eqns:
        stack = f"{prefix}/{equation.source_info.name_stack}"
        name, params = equation.primitive.name, equation.params
        if name in ("conv_general_dilated", "dot_general"):
            if module := _module_of(stack):  # outside the modules, products only average pixels
                macs[module] += times * _macs_of(equation)
        else:
            length = times * params["length"] if name == "scan" else times
            for value in params.values():
                inner = getattr(value, "jaxpr", value)
                if hasattr(inner, "eqns"):
                    _add_macs(inner, stack, length, macs)


def _macs_of(equation) -> int:
    out = math.prod(equation.outvars[0].aval.shape)
    left, right = (variable.aval.shape for variable in equation.invars[:2])
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return out * math.prod(left[axis] for axis in contracted)
    numbers = equation.params["dimension_numbers"].rhs_spec
    return out * math.prod(right) // right[numbers[0]]
