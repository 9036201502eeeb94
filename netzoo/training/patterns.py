"""Tables of values by parameter path, such as learning-rate factors.

A table is an ordered sequence of `(regular expression, value)`. The path of a parameter is its
names joined by slashes (`stage2_block1/expand/kernel`). The first expression that matches the whole
path determines the value.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
from chex import ArrayTree

from netzoo.errors import UserError

Table = Sequence[tuple[str, Any]]


def match(table: Table, tree: ArrayTree, what: str) -> ArrayTree:
    """Return a tree like `tree` with the table's value for each leaf.

    `what` names the table in errors.

    Raises:
      UserError: A pattern is not a regular expression or determines no value, or a leaf matches no
        pattern.
    """
    try:
        compiled = [re.compile(pattern) for pattern, _ in table]
    except re.error as error:
        raise UserError(f"{what}: {error.pattern!r} is not a regular expression: {error}") from None
    paths, structure = jax.tree_util.tree_flatten_with_path(tree)
    names = [path_name(path) for path, _ in paths]
    used = []
    for name in names:
        index = next((i for i, pattern in enumerate(compiled) if pattern.fullmatch(name)), None)
        if index is None:
            raise UserError(f"{what}: no pattern matches {name}; end the table with '.*'")
        used.append(index)
    if idle := [pattern for i, (pattern, _) in enumerate(table) if i not in used]:
        raise UserError(
            f"{what}: {', '.join(map(repr, idle))} matches no parameter, or only parameters that "
            "earlier patterns match; correct it, move it up or remove it. Names look like "
            f"{', '.join(names[:3])}."
        )
    return jax.tree_util.tree_unflatten(structure, [table[index][1] for index in used])


def describe(table: Table, tree: ArrayTree, what: str) -> str:
    """Return a title and a line per pattern with its number of tensors and parameters."""
    indices = match([(pattern, i) for i, (pattern, _) in enumerate(table)], tree, what)
    pairs = list(zip(jax.tree.leaves(indices), jax.tree.leaves(tree), strict=True))
    lines = []
    for i, (pattern, value) in enumerate(table):
        sizes = [leaf.size for index, leaf in pairs if index == i]
        lines.append(f"  {pattern!r} -> {value}: {len(sizes)} tensors, {sum(sizes):,} parameters")
    return "\n".join([f"{what}:", *lines])


def path_name(path: tuple) -> str:
    """Return the slash-joined names of a key path."""
    return "/".join(str(getattr(key, "key", getattr(key, "name", key))) for key in path)
