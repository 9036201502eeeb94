"""Converts between netzoo's variables and the named tensors of other projects.

A layout (`netzoo.weights.families`) lists one `Entry` for every tensor on either side, by name and
never by position. The same entries convert in both directions.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import EllipsisType
from typing import NamedTuple

import flax.traverse_util
import numpy as np
from chex import ArrayTree

from netzoo.errors import UserError, printable

Path = tuple[str, ...]  # of a variable, e.g. `("params", "stem", "kernel")`
SHOWN = 8  # names of each list in an error; the rest is counted


class Transform(NamedTuple):
    """How the axes of a variable and a tensor differ; both directions lose nothing."""

    to_variable: Callable[[np.ndarray], np.ndarray]
    to_tensor: Callable[[np.ndarray], np.ndarray]


SAME = Transform(lambda x: x, lambda x: x)
# PyTorch convolutions are [out, in, height, width], netzoo's [height, width, in, out].
CONV = Transform(lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1))
# PyTorch dense layers are [out, in].
DENSE = Transform(lambda x: x.T, lambda x: x.T)
# Keras keeps a depthwise kernel as [height, width, channels, 1], netzoo as [h, w, 1, channels].
KERAS_DEPTHWISE = Transform(lambda x: x.transpose(0, 1, 3, 2), lambda x: x.transpose(0, 1, 3, 2))
# A dense layer that Keras has as a 1x1 convolution [1, 1, in, out].
KERAS_POINTWISE = Transform(lambda x: x.reshape(x.shape[-2:]), lambda x: x[None, None])


def covering_conv(side: int) -> Transform:
    """Returns the transform of a dense layer that PyTorch has as a convolution.

    The kernel, `[out, in, side, side]`, covers the whole input of the convolution.
    """
    return Transform(
        lambda x: CONV.to_variable(x).reshape(-1, x.shape[0]),
        lambda x: CONV.to_tensor(x.reshape(side, side, -1, x.shape[1])),
    )


def flattened_dense(channels: int, side: int) -> Transform:
    """Returns the transform of a dense layer after flattening `[side, side, channels]`.

    PyTorch flattens channels first: its rows are in the order (channel, row, column).
    """
    conv = covering_conv(side)
    return Transform(
        lambda x: conv.to_variable(x.reshape(x.shape[0], channels, side, side)),
        lambda x: conv.to_tensor(x).reshape(x.shape[1], -1),
    )


class Entry(NamedTuple):
    """One of our variables, or one layer of it, and the tensor that it comes from."""

    target: Path  # of our variable
    source: str  # name of the other project's tensor
    transform: Transform = SAME
    # Index on the first axis of our variable, where a scanned stack holds all layers.
    layer: int | EllipsisType = ...
    # `(index, count)`: the variable is that part of `count` equal ones along the first axis of the
    # tensor. The entries of the parts of a tensor stand in the order of the indices.
    part: tuple[int, int] = (0, 1)


class Layout(NamedTuple):
    """The names of one project for one network."""

    entries: list[Entry]
    ignored: tuple[str, ...] = ()  # regular expressions of the other project's unneeded names
    head: tuple[str, ...] = ("logits",)  # our modules that depend on the number of classes


# Our module path (`stage1_block1/conv1`) to the name of the other project's (`layer1.0.conv1`). A
# pair names our layer and the norm after it, `LAYER_norm`; a list has a name for each layer of a
# scanned stack.
Names = dict[str, str | tuple[str, str] | list[str]]
# Maps the path of our variable, and the rank that it has in one layer, to what follows the name of
# the other project's module, and the transform.
Naming = Callable[[Path, int], tuple[str, Transform]]


def torch_naming(target: Path, rank: int) -> tuple[str, Transform]:
    """Names the variables of a PyTorch module."""
    if target[-1] == "kernel":
        return ".weight", CONV if rank == 4 else DENSE
    names = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    return f".{names[target[-1]]}", SAME


def keras_naming(target: Path, rank: int) -> tuple[str, Transform]:
    """Names the variables of a Keras layer; kernels other than depthwise ones have our axes."""
    if target[-2:] == ("depthwise", "kernel"):
        return "/depthwise_kernel", KERAS_DEPTHWISE
    if target[-1] in ("kernel", "bias") and not target[-2].endswith("norm"):
        return f"/{target[-1]}", SAME
    names = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}
    return f"/{names[target[-1]]}", SAME


def block_names(
    depths: Iterable[int], template: str, layers: Mapping[str, str | tuple[str, str]]
) -> Names:
    """Returns the names of `stageS_blockB/LAYER` in another project.

    `depths` has the number of blocks in each stage. `template` is the other name, e.g.
    `"layer{stage}.{block0}.{layer}"`: `stage`, `block` and `number`, which counts all blocks, begin
    at 1, `stage0`, `block0` and `number0` at 0. `layers` maps our layer in a block to what `layer`
    stands for, or to a pair as in `Names`.
    """
    names: Names = {}
    blocks = ((stage, block) for stage, depth in enumerate(depths) for block in range(depth))
    for number, (stage, block) in enumerate(blocks):
        index = {"stage0": stage, "block0": block, "number0": number}
        index |= {"stage": stage + 1, "block": block + 1, "number": number + 1}
        for layer, theirs in layers.items():
            pair = (theirs,) if isinstance(theirs, str) else theirs
            name, *norm = (template.replace("{layer}", part).format(**index) for part in pair)
            path = f"stage{stage + 1}_block{block + 1}/{layer}"
            names[path] = (name, norm[0]) if norm else name
    return names


def joint_projection(attention: str, layers: Iterable[str]) -> list[Entry]:
    """Returns the entries of a query, key and value that PyTorch keeps in one dense layer.

    `attention` is our path in a scanned stack, e.g. `"encoder/blocks/attention"`, `layers` has
    PyTorch's name of the dense layer in each block, up to `weight` and `bias`.
    """
    return [
        Entry(
            ("params", *attention.split("/"), ours, leaf), name + theirs, transform, layer, (i, 3)
        )
        for layer, name in enumerate(layers)
        for i, ours in enumerate(("query", "key", "value"))
        for leaf, theirs, transform in (("kernel", "weight", DENSE), ("bias", "bias", SAME))
    ]


def make_layout(
    shapes: ArrayTree,
    modules: Names,
    naming: Naming = torch_naming,
    *,
    transforms: Mapping[str, Transform] | None = None,
    extra: Iterable[Entry] = (),
    ignored: Iterable[str] = (),
    head: tuple[str, ...] = ("logits",),
) -> Layout:
    """Makes a layout from the names of modules and a rule that names the tensors in one.

    `shapes` are our variables, or their shapes. `transforms` has the transform of the kernel of a
    module, by our path, where the rule's does not fit. `extra` are entries for tensors that follow
    no rule; they go before it. `ignored` and `head` are as in `Layout`. PyTorch's counts of batches
    are ignored too, and the tensors of a head that the network is made without.

    Raises:
      KeyError: One of our modules has no name: the layout is incomplete.
    """
    names: dict[str, str | list[str]] = {}
    for module, theirs in modules.items():
        if isinstance(theirs, tuple):
            names[module], names[f"{module}_norm"] = theirs
        else:
            names[module] = theirs
    entries = list(extra)
    by_rule = flax.traverse_util.flatten_dict(shapes)
    for entry in entries:
        by_rule.pop(entry.target, None)
    for target, leaf in by_rule.items():
        module = "/".join(target[1:-1])
        theirs = names[module]
        layers = dict(enumerate(theirs)) if isinstance(theirs, list) else {...: theirs}
        suffix, transform = naming(target, len(leaf.shape) - isinstance(theirs, list))
        if target[-1] == "kernel":
            transform = (transforms or {}).get(module, transform)
        for layer, name in layers.items():
            entries.append(Entry(target, name + suffix, transform, layer))
    absent = {module for module in head if module not in shapes["params"]}
    dropped = [rf"{re.escape(name)}[./]\w+" for module, name in names.items()
               if isinstance(name, str) and module.split("/")[0] in absent]  # fmt: skip
    return Layout(entries, (r".*\.num_batches_tracked", *ignored, *dropped), head)


def to_variables(
    tensors: Mapping[str, np.ndarray], layout: Layout, shapes: ArrayTree, what: str
) -> ArrayTree:
    """Converts the tensors of a file, which `what` names in errors, to float32 variables.

    A module of `layout.head` whose tensors have another number of classes, or are not in the file,
    is left out as a whole.

    Raises:
      UserError: Tensors are missing, unknown or misshapen; all of them are listed.
    """
    flat = flax.traverse_util.flatten_dict(shapes)
    variables: dict[Path, np.ndarray] = {}
    missing, misshapen, absent_heads = [], [], set()
    for entry in layout.entries:
        new = np.empty(flat[entry.target].shape, np.float32)
        variable = variables.setdefault(entry.target, new)[entry.layer]
        value = _converted(tensors, entry)
        if value is not None and value.shape == variable.shape:
            variable[...] = value
        elif entry.target[1] in layout.head:
            absent_heads.add(entry.target[1])
        elif entry.source not in tensors:
            missing.append(entry.source)
        else:
            shape, ours = tuple(np.shape(tensors[entry.source])), "/".join(entry.target[1:])
            misshapen.append(f"{entry.source} {shape} for {ours} {variable.shape}")
    expected = sorted({entry.source for entry in layout.entries})
    ignored = re.compile("|".join(layout.ignored))
    unknown = [name for name in tensors if name not in expected and not ignored.fullmatch(name)]
    faults = {"missing": missing, "unknown": unknown, "of another shape": misshapen}
    if any(faults.values()):
        lines = [f"{what} does not fit the network:"]
        lines += [f"  {fault}: {_listed(names)}" for fault, names in faults.items() if names]
        lines.append(f"  expected {len(expected)} tensors: {_listed(expected)}")
        raise UserError("\n".join(lines))
    kept = {path: value for path, value in variables.items() if path[1] not in absent_heads}
    return flax.traverse_util.unflatten_dict(kept)


def to_tensors(variables: ArrayTree, layout: Layout) -> dict[str, np.ndarray]:
    """Converts variables to the tensors of another project; the inverse of `to_variables`."""
    flat = flax.traverse_util.flatten_dict(variables)
    parts: dict[str, list[np.ndarray]] = {}
    for entry in layout.entries:
        value = np.asarray(flat[entry.target])[entry.layer]
        parts.setdefault(entry.source, []).append(entry.transform.to_tensor(value))
    return {name: np.ascontiguousarray(np.concatenate(x)) for name, x in parts.items()}


def _converted(tensors: Mapping[str, np.ndarray], entry: Entry) -> np.ndarray | None:
    """Returns our array; None if theirs is absent or of a shape that cannot be taken apart."""
    if entry.source not in tensors:
        return None
    value = np.asarray(tensors[entry.source])
    index, count = entry.part
    try:
        return entry.transform.to_variable(np.split(value, count)[index])
    except (ValueError, IndexError):
        return None


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(printable, names[:SHOWN]))
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
