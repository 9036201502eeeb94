"""Converts between netzoo's variables and the named tensors of other projects.

A layout (`netzoo.weights.families`) lists one `Entry` for every tensor on either side, by name and
never by position. The same entries convert in both directions.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import flax.traverse_util
import numpy as np
from chex import ArrayTree

from netzoo.errors import UserError

Path = tuple[str, ...]  # of a variable, e.g. `("params", "stem", "kernel")`
SHOWN = 8  # names of each list in an error; the rest is counted


class Transform(NamedTuple):
    """How the axes of a tensor differ; both directions lose nothing.

    Attributes:
      to_ours: Maps the other project's array to ours.
      to_theirs: The inverse.
    """

    to_ours: Callable[[np.ndarray], np.ndarray]
    to_theirs: Callable[[np.ndarray], np.ndarray]


SAME = Transform(lambda x: x, lambda x: x)
# PyTorch convolutions are [out, in, height, width], netzoo's [height, width, in, out].
CONV = Transform(lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1))
# PyTorch dense layers are [out, in].
DENSE = Transform(lambda x: x.T, lambda x: x.T)
# Keras keeps a depthwise kernel as [height, width, channels, 1], netzoo as [h, w, 1, channels].
KERAS_DEPTHWISE = Transform(lambda x: x.transpose(0, 1, 3, 2), lambda x: x.transpose(0, 1, 3, 2))
# A dense layer that Keras has as a 1x1 convolution [1, 1, in, out].
KERAS_POINTWISE = Transform(lambda x: x.reshape(x.shape[-2:]), lambda x: x[None, None])


def flattened_dense(channels: int, side: int) -> Transform:
    """Returns the transform of a dense layer after flattening `[side, side, channels]`.

    PyTorch flattens channels first: its rows are in the order (channel, row, column).
    """

    def to_ours(x):
        x = x.reshape(x.shape[0], channels, side, side)
        return x.transpose(2, 3, 1, 0).reshape(-1, x.shape[0])

    def to_theirs(x):
        x = x.reshape(side, side, channels, -1)
        return x.transpose(3, 2, 0, 1).reshape(x.shape[3], -1)

    return Transform(to_ours, to_theirs)


class Entry(NamedTuple):
    """One of our tensors, or one layer or part of it, and where it comes from.

    Attributes:
      target: Its path in our variables, e.g. `("params", "stem", "kernel")`.
      source: Name of the other project's tensor.
      transform: Between the two.
      layer: Index on the first axis of our tensor, where a scanned stack holds all layers.
      part: `(index, count)`: ours is that part of `count` equal ones along the first axis of the
        other project's tensor, e.g. the keys of a joint projection of queries, keys and values.
    """

    target: Path
    source: str
    transform: Transform = SAME
    layer: int | None = None
    part: tuple[int, int] = (0, 1)


class Layout(NamedTuple):
    """The names of one project for one network.

    Attributes:
      entries: Every tensor.
      ignored: Regular expressions of the other project's names that are left out on purpose.
      head: Our modules that depend on the number of classes.
    """

    entries: list[Entry]
    ignored: tuple[str, ...] = ()
    head: tuple[str, ...] = ("logits",)


TORCH_NAMES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
KERAS_NAMES = {
    "kernel": "kernel",
    "bias": "bias",
    "scale": "gamma",
    "mean": "moving_mean",
    "var": "moving_variance",
}


def block_names(
    depths: Iterable[int], template: str, layers: Mapping[str, str | tuple[str, str]]
) -> dict[str, str]:
    """Returns our module paths, `stageS_blockB/LAYER`, to the names of another project.

    Args:
      depths: Number of blocks in each stage.
      template: The other name, e.g. `"layer{stage}.{block0}.{layer}"`: `stage`, `block` and
        `number`, which counts all blocks, begin at 1, `stage0`, `block0` and `number0` at 0.
      layers: Our layer in a block to what `layer` stands for; a pair names our layer and the norm
        after it, `LAYER_norm`.
    """
    names, number = {}, 0
    for stage, depth in enumerate(depths, start=1):
        for block in range(1, depth + 1):
            number += 1
            index = {"stage": stage, "block": block, "number": number}
            index |= {f"{name}0": value - 1 for name, value in index.items()}
            for layer, theirs in layers.items():
                pair = [theirs] if isinstance(theirs, str) else theirs
                for ours, name in zip((layer, f"{layer}_norm"), pair, strict=False):
                    path = f"stage{stage}_block{block}/{ours}"
                    names[path] = template.replace("{layer}", name).format(**index)
    return names


def layout_by_modules(
    shapes: ArrayTree,
    modules: Mapping[str, str | Sequence[str]],
    tensor_of: Callable[[Path, int], tuple[str, Transform]],
    *,
    extra: Iterable[Entry] = (),
    ignored: Iterable[str] = (),
    head: tuple[str, ...] = ("logits",),
) -> Layout:
    """Makes a layout from the names of modules and a rule for the tensors in one.

    Args:
      shapes: Our variables, or their shapes.
      modules: Our module path (`"stage1_block1/conv1"`) to theirs (`"layer1.0.conv1"`); for a
        scanned stack to the sequence of theirs, one a layer.
      tensor_of: Maps the path of our variable and its rank in one layer to what follows the name
        of their module, and the transform.
      extra: Entries for tensors that follow no rule. They go before the rule.
      ignored: Regular expressions of their names that have no counterpart. The tensors of a head
        that the network is made without are added.
      head: Our modules that depend on the number of classes.

    Raises:
      KeyError: One of our modules has no name: the layout is incomplete.
    """
    entries = list(extra)
    by_rule = flax.traverse_util.flatten_dict(shapes)
    for entry in entries:
        by_rule.pop(entry.target, None)
    for target, leaf in by_rule.items():
        theirs = modules["/".join(target[1:-1])]
        stacked = not isinstance(theirs, str)
        suffix, transform = tensor_of(target, len(leaf.shape) - stacked)
        for layer, name in enumerate(theirs if stacked else [theirs]):
            entries.append(Entry(target, name + suffix, transform, layer if stacked else None))
    absent = {module for module in head if module not in shapes["params"]}
    dropped = [rf"{re.escape(name)}[./]\w+" for module, name in modules.items()
               if module.split("/")[0] in absent]  # fmt: skip
    return Layout(entries, (*ignored, *dropped), head)


def torch_layout(
    shapes: ArrayTree,
    modules: Mapping[str, str | Sequence[str]],
    *,
    ignored: Iterable[str] = (),
    transforms: Mapping[str, Transform] | None = None,
    **options,
) -> Layout:
    """Makes the layout of a PyTorch state dict from the names of its modules.

    Args:
      shapes: Our variables, or their shapes.
      modules: As in `layout_by_modules`.
      ignored: Regular expressions of their names that have no counterpart.
      transforms: Our module path to the transform of its kernel, where neither that of a
        convolution nor that of a dense layer fits.
      **options: Others of `layout_by_modules`.
    """

    def tensor_of(target: Path, rank: int) -> tuple[str, Transform]:
        transform = SAME
        if target[-1] == "kernel":
            rule = CONV if rank == 4 else DENSE
            transform = (transforms or {}).get("/".join(target[1:-1]), rule)
        return f".{TORCH_NAMES[target[-1]]}", transform

    ignored = (r".*\.num_batches_tracked", *ignored)
    return layout_by_modules(shapes, modules, tensor_of, ignored=ignored, **options)


def keras_layout(
    shapes: ArrayTree, modules: Mapping[str, str], *, pointwise_dense: Iterable[str] = ()
) -> Layout:
    """Makes the layout of Keras weights, `LAYER/VARIABLE`, from the names of the layers.

    Kernels of convolutions and dense layers have netzoo's axes. The kernel of a module that is
    called `depthwise` is the `depthwise_kernel` of a `DepthwiseConv2D`.

    Args:
      shapes: Our variables, or their shapes.
      modules: Our module path (`"stage1_block1/depthwise"`) to their layer (`"conv_dw_1"`).
      pointwise_dense: Our dense layers that are 1x1 convolutions in Keras.
    """
    paths = set(flax.traverse_util.flatten_dict(shapes))

    def tensor_of(target: Path, rank: int) -> tuple[str, Transform]:
        if target[-1] == "bias" and (*target[:-1], "scale") in paths:
            return "/beta", SAME
        if target[-2:] == ("depthwise", "kernel"):
            return "/depthwise_kernel", KERAS_DEPTHWISE
        pointwise = target[-1] == "kernel" and "/".join(target[1:-1]) in pointwise_dense
        return f"/{KERAS_NAMES[target[-1]]}", KERAS_POINTWISE if pointwise else SAME

    return layout_by_modules(shapes, modules, tensor_of)


def to_ours(
    tensors: Mapping[str, np.ndarray], layout: Layout, shapes: ArrayTree, what: str
) -> ArrayTree:
    """Converts the tensors of a file to variables; modules of the head may be left out.

    Args:
      tensors: Tensors by the names of the other project.
      layout: The names of that project.
      shapes: Shapes of our variables.
      what: The file, named in errors.

    Returns:
      Variables of float32 arrays. A module of `layout.head` whose tensors have another number of
      classes, or are not in the file, is absent as a whole.

    Raises:
      UserError: Tensors are missing, unknown or misshapen; all of them are listed.
    """
    flat = flax.traverse_util.flatten_dict(shapes)
    result: dict[Path, np.ndarray] = {}
    missing, misshapen, absent_heads = [], [], set()
    for entry in layout.entries:
        leaf = flat[entry.target]
        expected = tuple(leaf.shape if entry.layer is None else leaf.shape[1:])
        value = _converted(tensors, entry)
        if value is not None and value.shape == expected:
            if entry.layer is None:
                result[entry.target] = np.ascontiguousarray(value, dtype=np.float32)
            else:
                stack = result.setdefault(entry.target, np.empty(leaf.shape, np.float32))
                stack[entry.layer] = value
        elif entry.target[1] in layout.head:
            absent_heads.add(entry.target[1])
        elif entry.source not in tensors:
            missing.append(entry.source)
        else:
            shape, ours = tuple(np.shape(tensors[entry.source])), "/".join(entry.target[1:])
            misshapen.append(f"{entry.source} {shape} for {ours} {expected}")
    _check_complete(tensors, layout, missing, misshapen, what)
    kept = {path: value for path, value in result.items() if path[1] not in absent_heads}
    return flax.traverse_util.unflatten_dict(kept)


def to_theirs(variables: ArrayTree, layout: Layout) -> dict[str, np.ndarray]:
    """Converts variables to the tensors of another project; the inverse of `to_ours`."""
    flat = flax.traverse_util.flatten_dict(variables)
    parts: dict[str, dict[int, np.ndarray]] = {}
    for entry in layout.entries:
        value = np.asarray(flat[entry.target])
        value = value if entry.layer is None else value[entry.layer]
        index, _ = entry.part
        parts.setdefault(entry.source, {})[index] = entry.transform.to_theirs(value)
    return {
        name: np.ascontiguousarray(np.concatenate([x for _, x in sorted(by_index.items())]))
        if len(by_index) > 1
        else np.ascontiguousarray(by_index[0])
        for name, by_index in parts.items()
    }


def _converted(tensors: Mapping[str, np.ndarray], entry: Entry) -> np.ndarray | None:
    """Returns our array; None if theirs is absent or of a shape that cannot be taken apart."""
    if entry.source not in tensors:
        return None
    value = np.asarray(tensors[entry.source])
    index, count = entry.part
    try:
        return entry.transform.to_ours(value if count == 1 else np.split(value, count)[index])
    except (ValueError, IndexError):
        return None


def _check_complete(
    tensors: Mapping[str, np.ndarray],
    layout: Layout,
    missing: list[str],
    misshapen: list[str],
    what: str,
) -> None:
    """Raises a UserError that lists every tensor which is missing, unknown or misshapen."""
    expected = sorted({entry.source for entry in layout.entries})
    ignored = re.compile("|".join(layout.ignored) or r"(?!)")
    unknown = [name for name in tensors if name not in expected and not ignored.fullmatch(name)]
    faults = {"missing": missing, "unknown": unknown, "of another shape": misshapen}
    if any(faults.values()):
        lines = [f"{what} does not fit the network:"]
        lines += [f"  {kind}: {_listed(names)}" for kind, names in faults.items() if names]
        lines.append(f"  expected {len(expected)} tensors: {_listed(expected)}")
        raise UserError("\n".join(lines))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
