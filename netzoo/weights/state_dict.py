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

# Shown of each list in an error; the rest is counted.
SHOWN = 8


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

    target: tuple[str, ...]
    source: str
    transform: Transform = SAME
    layer: int | None = None
    part: tuple[int, int] = (0, 1)


class Layout(NamedTuple):
    """The names of one project for one network.

    Attributes:
      entries: Every tensor.
      ignored: Names in the other project's file that have no counterpart on purpose.
      head: Our modules that depend on the number of classes.
    """

    entries: list[Entry]
    ignored: tuple[str, ...] = ()
    head: tuple[str, ...] = ("logits",)


LEAF_NAMES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def torch_layout(
    shapes: ArrayTree,
    modules: Mapping[str, str | Sequence[str]],
    *,
    extra: Iterable[Entry] = (),
    ignored: Iterable[str] = (),
    transforms: Mapping[str, Transform] | None = None,
    head: tuple[str, ...] = ("logits",),
) -> Layout:
    """Makes the layout of a PyTorch state dict from the names of its modules.

    Args:
      shapes: Our variables, or their shapes.
      modules: Our module path (`"stage1_block1/conv1"`) to theirs (`"layer1.0.conv1"`); for a
        scanned stack to the sequence of theirs, one a layer.
      extra: Entries for tensors that follow no rule. They go before the rule.
      ignored: Their names that have no counterpart.
      transforms: Our module path to the transform of its kernel, where neither that of a
        convolution nor that of a dense layer fits.
      head: Our modules that depend on the number of classes.

    Raises:
      KeyError: One of our modules has no name: the layout is incomplete.
    """
    extra = list(extra)
    taken = {entry.target for entry in extra}
    entries = extra
    for target, leaf in flax.traverse_util.flatten_dict(shapes).items():
        if target in taken:
            continue
        module = "/".join(target[1:-1])
        theirs = modules[module]
        stacked = not isinstance(theirs, str)
        transform = SAME
        if target[-1] == "kernel":
            rank = len(leaf.shape) - stacked
            transform = (transforms or {}).get(module) or (CONV if rank == 4 else DENSE)
        for layer, name in enumerate(theirs if stacked else [theirs]):
            source = f"{name}.{LEAF_NAMES[target[-1]]}"
            entries.append(Entry(target, source, transform, layer if stacked else None))
    return Layout(entries, (r".*\.num_batches_tracked", *ignored), head)


def to_ours(
    tensors: Mapping[str, np.ndarray], layout: Layout, shapes: ArrayTree, what: str
) -> ArrayTree:
    """Converts the tensors of a file to variables; modules of the head may be left out.

    Args:
      tensors: By the names of the other project.
      layout: Its names.
      shapes: Shapes of our variables.
      what: The file, named in errors.

    Returns:
      Variables of float32 arrays. A module of `layout.head` whose tensors have another number of
      classes, or are not in the file, is absent as a whole.

    Raises:
      UserError: Tensors are missing, unknown or misshapen; all of them are listed.
    """
    flat = flax.traverse_util.flatten_dict(shapes)
    result: dict[tuple[str, ...], np.ndarray] = {}
    missing, misshapen, used, absent_heads = [], [], set(), set()
    for entry in layout.entries:
        head = entry.target[1] if entry.target[1] in layout.head else None
        used.add(entry.source)
        if entry.source not in tensors:
            if head:
                absent_heads.add(head)
            else:
                missing.append(entry.source)
            continue
        leaf = flat[entry.target]
        wanted = leaf.shape if entry.layer is None else leaf.shape[1:]
        value = _part(np.asarray(tensors[entry.source]), entry)
        value = None if value is None else _transformed(value, entry.transform.to_ours)
        if value is None or value.shape != wanted:
            if head:
                absent_heads.add(head)
            else:
                found = tuple(np.shape(tensors[entry.source]))
                ours = "/".join(entry.target[1:])
                misshapen.append(f"{entry.source} {found} for {ours} {tuple(wanted)}")
            continue
        value = np.ascontiguousarray(value, dtype=np.float32)
        if entry.layer is None:
            result[entry.target] = value
        else:
            result.setdefault(entry.target, np.empty(leaf.shape, np.float32))[entry.layer] = value
    patterns = [re.compile(pattern) for pattern in layout.ignored]
    unknown = [n for n in tensors if n not in used and not any(p.fullmatch(n) for p in patterns)]
    faults = {"missing": missing, "unknown": unknown, "of another shape": misshapen}
    if any(faults.values()):
        lines = [f"{what} does not fit the network:"]
        lines += [f"  {kind}: {_listed(names)}" for kind, names in faults.items() if names]
        expected = sorted(used)
        lines.append(f"  expected {len(expected)} tensors: {_listed(expected)}")
        raise UserError("\n".join(lines))
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
        name: np.ascontiguousarray(np.concatenate([found[i] for i in sorted(found)]))
        if len(found) > 1
        else np.ascontiguousarray(found[0])
        for name, found in parts.items()
    }


def _part(value: np.ndarray, entry: Entry) -> np.ndarray | None:
    index, count = entry.part
    if count == 1:
        return value
    if value.ndim == 0 or value.shape[0] % count:
        return None
    return np.split(value, count)[index]


def _transformed(value: np.ndarray, function) -> np.ndarray | None:
    try:
        return function(value)
    except ValueError:  # another rank or another size than the transform can take apart
        return None


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
