"""Converts between netzoo's variables and the named tensors of other projects.

A layout (`netzoo.weights.families`) has an `Entry` for each pair of variable and tensor. It matches
tensors by name, never by position, and converts in both directions.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import EllipsisType, MappingProxyType
from typing import NamedTuple

import flax.traverse_util
import jax
import numpy as np
from chex import ArrayTree

from netzoo.errors import UserError, printable

Path = tuple[str, ...]  # path of a variable, e.g. `("params", "stem", "kernel")`
SHOWN = 8  # maximum number of names in an error; for the others, it gives only their number


class Transform(NamedTuple):
    """A reversible change of axes between a variable and a tensor."""

    to_variable: Callable[[np.ndarray], np.ndarray]
    to_tensor: Callable[[np.ndarray], np.ndarray]


SAME = Transform(lambda x: x, lambda x: x)
# PyTorch convolutions are [out, in, height, width], netzoo's [height, width, in, out].
CONV = Transform(lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1))
# PyTorch dense layers are [out, in].
DENSE = Transform(lambda x: x.T, lambda x: x.T)
# Depthwise kernels are [height, width, channels, 1] in Keras, [h, w, 1, channels] in netzoo.
KERAS_DEPTHWISE = Transform(lambda x: x.transpose(0, 1, 3, 2), lambda x: x.transpose(0, 1, 3, 2))
# Keras stores this dense layer as a 1x1 convolution [1, 1, in, out].
KERAS_POINTWISE = Transform(lambda x: x.reshape(x.shape[-2:]), lambda x: x[None, None])


def covering_conv(side: int) -> Transform:
    """Return the transform of a dense layer that PyTorch stores as a convolution.

    The kernel `[out, in, side, side]` covers the whole input of the convolution.
    """
    return Transform(
        lambda x: CONV.to_variable(x).reshape(-1, x.shape[0]),
        lambda x: CONV.to_tensor(x.reshape(side, side, -1, x.shape[1])),
    )


def flattened_dense(channels: int, side: int) -> Transform:
    """Return the transform of a dense layer that follows flattening `[side, side, channels]`.

    PyTorch flattens in the order (channel, row, column).
    """
    conv = covering_conv(side)
    return Transform(
        lambda x: conv.to_variable(x.reshape(x.shape[0], channels, side, side)),
        lambda x: conv.to_tensor(x).reshape(x.shape[1], -1),
    )


class Entry(NamedTuple):
    """A netzoo variable, or one layer of it, and the tensor it corresponds to."""

    target: Path  # of the variable
    source: str  # name of the other project's tensor
    transform: Transform = SAME
    # Index of a layer on the first axis of a variable that stacks all layers.
    layer: int | EllipsisType = ...
    # `(index, count)`: the variable is part `index` of `count` equal parts of the tensor along its
    # first axis. The entries of a tensor are in the order of their parts.
    part: tuple[int, int] = (0, 1)


class Layout(NamedTuple):
    """The names of one network's tensors in one project."""

    entries: list[Entry]
    ignored: tuple[str, ...] = ()  # regular expressions of tensors to ignore
    head: tuple[str, ...] = ("logits",)  # netzoo's modules that depend on the number of classes
    # Maps regular expressions of tensors to the parts of networks that netzoo's network may lack.
    foreign: Mapping[str, str] = MappingProxyType({})


# Maps a module path of netzoo (`stage1_block1/conv1`) to its name in another project
# (`layer1.0.conv1`). A pair names the layer and the norm after it, `LAYER_norm`; a list names each
# layer of a scanned stack.
Names = dict[str, str | tuple[str, str] | list[str]]
# Maps the path of a variable and its rank in one layer to a suffix of the module's name in the
# other project, and the transform.
Naming = Callable[[Path, int], tuple[str, Transform]]


def torch_naming(target: Path, rank: int) -> tuple[str, Transform]:
    """Name the variables of a PyTorch module."""
    if target[-1] == "kernel":
        return ".weight", CONV if rank == 4 else DENSE
    names = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    return f".{names[target[-1]]}", SAME


def keras_naming(target: Path, rank: int) -> tuple[str, Transform]:
    """Name the variables of a Keras layer; only depthwise kernels differ in their axes."""
    if target[-2:] == ("depthwise", "kernel"):
        return "/depthwise_kernel", KERAS_DEPTHWISE
    if target[-1] in ("kernel", "bias") and not target[-2].endswith("norm"):
        return f"/{target[-1]}", SAME
    names = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}
    return f"/{names[target[-1]]}", SAME


def block_names(
    depths: Iterable[int], template: str, layers: Mapping[str, str | tuple[str, str]]
) -> Names:
    """Return the names of `stageS_blockB/LAYER` in another project.

    `depths` holds the number of blocks in each stage. `template` gives the other project's name,
    e.g. `"layer{stage}.{block0}.{layer}"`. `stage`, `block` and `number`, which counts all blocks,
    begin at 1; `stage0`, `block0` and `number0` begin at 0. `layers` maps netzoo's layer in a block
    to `layer` in the template, or to a pair as in `Names`.
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
    """Return the entries of query, key and value projections that PyTorch stores as one layer.

    `attention` is netzoo's path in a scanned stack, e.g. `"encoder/blocks/attention"`. `layers`
    holds PyTorch's prefix of `weight` and `bias` in each block.
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
    """Make a layout from the names of modules and a rule that names their tensors.

    `shapes` are netzoo's variables or their shapes. `transforms` maps module paths to transforms of
    kernels that override the rule. `extra` are entries that override the rule. For `ignored` and
    `head`, see `Layout`. PyTorch's `num_batches_tracked` and `n_averaged`, and the tensors of a
    head that the network omits, are also ignored.

    Raises:
      KeyError: The layout is incomplete: a module of netzoo has no name.
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
    counts = (r".*\.num_batches_tracked", r"n_averaged")
    return Layout(entries, (*counts, *ignored, *dropped), head)


def own_layout(shapes: ArrayTree, head: tuple[str, ...], num_classes: int) -> Layout:
    """Return the layout of netzoo's own files, with names such as `params/stem/kernel`."""
    entries = [Entry(path, "/".join(path)) for path in flax.traverse_util.flatten_dict(shapes)]
    ignored = () if num_classes else tuple(rf"\w+/{name}/.*" for name in head)
    return Layout(entries, ignored, head)


def to_variables(
    tensors: Mapping[str, np.ndarray], layout: Layout, shapes: ArrayTree, what: str
) -> ArrayTree:
    """Convert the tensors of a file to float32 variables; `what` names the file in errors.

    The result omits any module of `layout.head` whose tensors are missing or have another number of
    classes.

    Raises:
      UserError: Tensors are missing, unknown or of another shape; the message lists them.
    """
    absent = absent_modules(tensors, layout, shapes, what)
    flat = flax.traverse_util.flatten_dict(shapes)
    variables: dict[Path, np.ndarray] = {}
    for entry in layout.entries:
        if entry.target[1] in absent:
            continue
        if entry.target not in variables:
            variables[entry.target] = np.empty(flat[entry.target].shape, np.float32)
        variables[entry.target][entry.layer] = _converted(tensors, entry)
    return flax.traverse_util.unflatten_dict(variables)


def absent_modules(
    tensors: Mapping[str, np.ndarray], layout: Layout, shapes: ArrayTree, what: str
) -> set[str]:
    """Return the modules of the head that `to_variables` omits; only shapes are compared.

    Raises:
      UserError: See `to_variables`.
    """
    flat = flax.traverse_util.flatten_dict(shapes)
    wrong: dict[str, Path] = {}  # tensors that do not fit, and one of the variables for each
    head: dict[str, Path] = {}  # the tensors among them that belong to the head
    zeros = {name: np.broadcast_to(np.float32(0), np.shape(x)) for name, x in tensors.items()}
    for entry in layout.entries:
        shape = flat[entry.target].shape[0 if entry.layer is ... else 1 :]
        value = _converted(zeros, entry)  # a view without memory of its own
        if value is None or value.shape != shape:
            (head if entry.target[1] in layout.head else wrong)[entry.source] = entry.target
    expected = {entry.source for entry in layout.entries}
    ignored = re.compile("|".join(layout.ignored))
    unknown = [name for name in tensors if name not in expected and not ignored.fullmatch(name)]
    if wrong or unknown:
        right = tensor_shapes(layout, shapes)
        faults = {
            "missing": [name for name in right if name in wrong | head and name not in tensors],
            "unknown": unknown,
            "of another shape": [
                f"{name} {np.shape(tensors[name])}, expected {right[name]} for {'/'.join(path[1:])}"
                for name, path in wrong.items()
                if name in tensors
            ],
        }
        lines = [f"  {fault}: {_listed(names)}" for fault, names in faults.items() if names]
        listed = f"  expected {len(right)} tensors: {_listed(sorted(right))}"
        raise UserError("\n".join([f"{what} does not fit the network:", *lines, listed]))
    return {path[1] for path in head.values()}


def fits(tensors: Mapping[str, np.ndarray], layout: Layout, shapes: ArrayTree) -> bool:
    """Return whether `to_variables` would accept the tensors; nothing is converted."""
    head = {entry.source for entry in layout.entries if entry.target[1] in layout.head}
    needed = {entry.source for entry in layout.entries} - head
    ignored = re.compile("|".join(layout.ignored))
    others = tensors.keys() - needed - head
    if not needed <= tensors.keys() or not all(map(ignored.fullmatch, others)):
        return False
    right = tensor_shapes(layout, shapes)
    return all(np.shape(tensors[name]) == right[name] for name in needed)


def tensor_shapes(layout: Layout, shapes: ArrayTree) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all tensors that a layout names, in the other project's axes."""
    flat = flax.traverse_util.flatten_dict(shapes)
    found: dict[str, tuple[int, ...]] = {}
    for entry in layout.entries:
        shape = flat[entry.target].shape[0 if entry.layer is ... else 1 :]
        like = jax.ShapeDtypeStruct(shape, np.float32)
        first, *rest = jax.eval_shape(entry.transform.to_tensor, like).shape or (None,)
        _, parts = entry.part
        found[entry.source] = () if first is None else (parts * first, *rest)
    return found


def to_tensors(variables: ArrayTree, layout: Layout) -> dict[str, np.ndarray]:
    """Convert variables to the tensors of another project; the inverse of `to_variables`."""
    flat = flax.traverse_util.flatten_dict(variables)
    parts: dict[str, list[np.ndarray]] = {}
    for entry in layout.entries:
        value = np.asarray(flat[entry.target])[entry.layer]
        parts.setdefault(entry.source, []).append(entry.transform.to_tensor(value))
    joined = {name: x[0] if len(x) == 1 else np.concatenate(x) for name, x in parts.items()}
    return {name: np.array(x, order="C") for name, x in joined.items()}


def _converted(tensors: Mapping[str, np.ndarray], entry: Entry) -> np.ndarray | None:
    """Return the converted array, or None if the tensor is absent or its shape does not fit."""
    if entry.source not in tensors:
        return None
    value = np.asarray(tensors[entry.source])
    index, count = entry.part
    try:
        part = value if count == 1 else np.split(value, count)[index]
        return entry.transform.to_variable(part)
    except (ValueError, IndexError):
        return None


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(printable, names[:SHOWN]))
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
