"""Fits weights to a network: converts and resizes tensors, initialises or reorders the head."""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from chex import ArrayTree

from netzoo.errors import UserError, note
from netzoo.models.endpoint_shapes import is_square
from netzoo.models.positions import resize_position_embedding
from netzoo.models.registry import create_model, list_models
from netzoo.models.summary import example_inputs, variable_shapes
from netzoo.weights.families import FAMILIES
from netzoo.weights.formats.read import OWN
from netzoo.weights.recognise import Recognised, Weights, recognise
from netzoo.weights.state_dict import Layout, absent_modules, fits, to_variables


def fit(
    found: Recognised,
    module: nn.Module,
    shapes: ArrayTree,
    image_size: int,
    *,
    name: str,
    seed: int = 0,
    new_head: bool = False,
) -> ArrayTree:
    """Return the variables of a network with these `shapes`.

    Messages call the network `name`; see `load_weights` for the other arguments.

    Raises:
      UserError: The tensors do not fit the network; the message lists them.
    """
    check_fit(found, module, shapes, image_size, name=name)
    weights, _, layout, _ = found
    tensors = _with_resized_positions(weights.tensors, layout, module, shapes)
    what = f"{weights.path} for {name}"
    variables = flax.traverse_util.flatten_dict(to_variables(tensors, layout, shapes, what))
    if new_head:
        variables = {path: x for path, x in variables.items() if path[1] not in layout.head}
    absent = [path for path in flax.traverse_util.flatten_dict(shapes) if path not in variables]
    if absent:
        if not new_head:
            _announce_new_head(absent, tensors, layout, module.num_classes, what)
        variables |= _initial(absent, module, image_size, seed)
    return flax.traverse_util.unflatten_dict(variables)


def check_fit(
    found: Recognised, module: nn.Module, shapes: ArrayTree, image_size: int, *, name: str
) -> None:
    """Raise the errors of `fit`; only the names and the shapes of the tensors are read."""
    tensors = _with_resized_positions(found.weights.tensors, found.layout, module, shapes)
    try:
        absent_modules(tensors, found.layout, shapes, f"{found.weights.path} for {name}")
    except UserError as error:
        hints = _hints(found, module, image_size)
        raise UserError("\n  ".join([str(error), *hints])) from None


def _hints(found: Recognised, module: nn.Module, image_size: int) -> list[str]:
    """Return what the tensors say about the network that they belong to."""
    names, layout, kind = found.weights.tensors, found.layout, type(module).__name__
    command = "`netzoo models show NAME --layout PROJECT` prints the names of a network"
    if found.matching == 0:
        projects = ", ".join(FAMILIES[type(module)].projects) if type(module) in FAMILIES else OWN
        hints = [
            f"no tensor has a name that {kind} uses in {projects}; the lists above compare with "
            f"the names in {found.project}. {command}"
        ]
    else:
        hints = [f"compared with the names of {found.project}, which most tensors have. {command}"]
    unknown = names.keys() - {entry.source for entry in layout.entries}
    parts = [
        part for name, part in layout.foreign.items() if any(re.fullmatch(name, n) for n in unknown)
    ]
    if parts:
        hints.append(f"the file's network has {', '.join(parts)}, which this {kind} lacks")
    sources = {entry.target[1]: entry.source for entry in layout.entries}
    if "class_token" in sources and sources["class_token"] not in names and found.matching:
        hints.append(
            "the file has no class token, like networks that average over tokens; try pool='gap'"
        )
    if others := _networks_that_fit(found.weights, module, image_size):
        hints.append(f"the file fits {' and '.join(others)}")
    return hints


def _networks_that_fit(weights: Weights, module: nn.Module, image_size: int) -> list[str]:
    """Return the networks of the same family that the tensors fit."""
    fitting = []
    for name in list_models():
        other = create_model(name, module.num_classes)
        if type(other) is not type(module):
            continue
        shapes = _shapes(name, module.num_classes, image_size)
        found = recognise(weights, other, shapes)
        tensors = _with_resized_positions(found.weights.tensors, found.layout, other, shapes)
        if fits(tensors, found.layout, shapes):
            fitting.append(name)
    return fitting


@functools.cache
def _shapes(name: str, num_classes: int, image_size: int) -> ArrayTree:
    """Return the shapes of a registered network, which every error of its family needs."""
    return variable_shapes(create_model(name, num_classes), image_size)


def classes_of(tensors: Mapping[str, np.ndarray], layout: Layout) -> int | None:
    """Return the number of classes of the head in a file, or None without a head."""
    for entry in layout.entries:
        # A network on text may use its embedding, with one row per token, as the head.
        is_head = entry.target[-2:] == ("logits", "bias") or entry.target[-1] == "embedding"
        if is_head and entry.target[1] in layout.head and entry.source in tensors:
            return len(tensors[entry.source])
    return None


def select_classes(variables: ArrayTree, indices: Sequence[int]) -> ArrayTree:
    """Return variables whose head has only the logits at `indices`, in this order."""

    def selected(path: tuple[Any, ...], x: np.ndarray) -> np.ndarray:
        return x[..., indices] if any(key.key == "logits" for key in path) else x

    return jax.tree_util.tree_map_with_path(selected, variables)


def _with_resized_positions(
    tensors: Mapping[str, np.ndarray], layout: Layout, module: nn.Module, shapes: ArrayTree
) -> Mapping[str, np.ndarray]:
    """Resize the position embedding if it belongs to another image size."""
    for entry in layout.entries:
        if entry.target != ("params", "position_embedding") or entry.source not in tensors:
            continue
        old, new = np.asarray(tensors[entry.source]), shapes["params"]["position_embedding"]
        others = module.positions_before_patches()
        fits_otherwise = old.ndim == 3 and old.shape[::2] == new.shape[::2]
        # A file with additional tokens, such as registers, gets a better error than one about the
        # grid.
        if fits_otherwise and is_square(old.shape[1] - others) and old.shape != new.shape:
            side = math.isqrt(new.shape[1] - others)
            resized = resize_position_embedding(old, (side, side), others)
            return {**tensors, entry.source: resized}
    return tensors


def _announce_new_head(
    absent: list[tuple[str, ...]],
    tensors: Mapping[str, np.ndarray],
    layout: Layout,
    num_classes: int,
    what: str,
) -> None:
    """Print which modules of the head the conversion omitted, and why.

    Raises:
      UserError: The head has the requested number of classes but another shape.
    """
    modules = {path[1]: None for path in absent}
    classes = classes_of(tensors, layout)
    if not any(e.source in tensors and e.target[1] in modules for e in layout.entries):
        note(f"{', '.join(modules)} initialised: not in {what}")
    elif classes == num_classes:
        raise UserError(
            f"{what} does not fit the network: {', '.join(modules)} have another shape, although "
            f"the file also has {classes} classes; check the options of the network"
        )
    else:
        note(f"head re-initialised: the file has {classes} classes, requested {num_classes}")


def _initial(
    paths: list[tuple[str, ...]], module: nn.Module, image_size: int, seed: int
) -> dict[tuple[str, ...], np.ndarray]:
    """Initialise the variables of a network at the given paths."""

    @jax.jit  # XLA drops the initialisers of all other variables
    def initial(key):
        inputs = [jnp.zeros(x.shape, x.dtype) for x in example_inputs(image_size)]
        flat = flax.traverse_util.flatten_dict(module.init(key, *inputs, train=False))
        return [flat[path] for path in paths]

    values = initial(jax.random.key(seed))
    return {path: np.asarray(x, np.float32) for path, x in zip(paths, values, strict=True)}
