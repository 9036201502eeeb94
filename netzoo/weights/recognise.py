"""Recognises the project of weights by the names of their tensors."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from netzoo.weights.families import FAMILIES
from netzoo.weights.formats.read import OWN
from netzoo.weights.published import Preprocessing, Project
from netzoo.weights.state_dict import Layout, own_layout

MAX_PREFIX = 6  # parts of the names of tensors that wrappers may have added
_FROM_TENSORFLOW = re.compile(r"(.*[/_.-])?tf_.*")  # timm's names of weights from TensorFlow


class Weights(NamedTuple):
    """Weights and their description."""

    path: Path
    tensors: Mapping[str, np.ndarray]
    model: str | None = None  # name in the registry
    options: Mapping[str, Any] = MappingProxyType({})  # options of `create_model` for the weights
    preprocessing: Preprocessing | None = None
    known_from: str = ""  # source of model, options and preprocessing, or ""
    # The names that the author of the weights gave to the file and its folder.
    called: tuple[str, ...] = ()
    class_names: tuple[str, ...] | None = None  # in the order of the logits; None if unknown
    num_classes: int | None = None  # length of the logits; 0 without a head; None if unknown
    licence: str | None = None  # of published weights and those of the hub


class Recognised(NamedTuple):
    """Weights and the project that their tensor names identify."""

    weights: Weights  # without a prefix, completed with the project's usual settings
    project: str
    layout: Layout
    matching: int  # tensors with a name of the layout


def recognise(weights: Weights, module: nn.Module, shapes: Any) -> Recognised:
    """Find the layout and the prefix with which most tensor names match.

    Wrappers add a prefix to every name, such as `module.`, `_orig_mod.`, `model.` or `backbone.`.
    """
    family = FAMILIES.get(type(module))
    projects = family.projects if family else {}
    layouts = {name: project.layout(module, shapes) for name, project in projects.items()}
    head = tuple({name: None for layout in layouts.values() for name in layout.head}) or ("logits",)
    layouts[OWN] = own_layout(shapes, head, module.num_classes)
    found = {name: _prefix(weights.tensors, layout) for name, layout in layouts.items()}
    project = max(found, key=lambda name: found[name][1])
    prefix, count = found[project]
    tensors = {name.removeprefix(prefix): value for name, value in weights.tensors.items()}
    weights = weights._replace(tensors=tensors)
    if project in projects and count and not weights.known_from:
        weights = _as_usual(weights, module, project, projects)
    return Recognised(weights, project, layouts[project], count)


def _prefix(tensors: Mapping[str, np.ndarray], layout: Layout) -> tuple[str, int]:
    """Return the prefix with which most tensor names match a layout, and how many match."""
    expected, counts = {entry.source for entry in layout.entries}, Counter({"": 0})
    for name in tensors:
        *parts, _ = name.split(".", MAX_PREFIX)
        for count in range(len(parts) + 1):
            prefix = "".join(f"{part}." for part in parts[:count])
            counts[prefix] += name.removeprefix(prefix) in expected
    return max(counts.items(), key=lambda item: (item[1], -len(item[0])))


def _as_usual(
    weights: Weights, module: nn.Module, project: str, projects: Mapping[str, Project]
) -> Weights:
    """Fill in the usual settings of a project, because the file does not store them."""
    # timm's minimalistic weights come from TensorFlow.
    is_minimalistic = getattr(module, "minimalistic", False)
    if is_minimalistic or any(map(_FROM_TENSORFLOW.fullmatch, weights.called)):
        project = f"{project} tf_" if f"{project} tf_" in projects else project
    usual, reason = projects[project], f"usual for {project}, which uses the same tensor names"
    return weights._replace(
        options=usual.options, preprocessing=usual.preprocessing, known_from=reason
    )


def differing(options: Mapping[str, Any], module: nn.Module) -> dict[str, Any]:
    """Return the options whose values are not those of the network."""
    return {name: value for name, value in options.items() if getattr(module, name) != value}


def taken(weights: Weights, values: Mapping[str, Any]) -> str:
    """Return a line with the values that netzoo assumed for a file or a run, and the reason."""
    listed = ", ".join(f"{name}={value!r}" for name, value in values.items())
    return f"{weights.path}: {listed} ({weights.known_from})"
