"""Finds weights with their network options and preprocessing.

Published weights, runs and netzoo's own files define options and preprocessing. A file of published
weights is recognised by its checksum or its name. Any other file has only tensor names, which
identify the project and its usual settings.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import flax.traverse_util
import numpy as np

from netzoo.buckets import is_in_bucket
from netzoo.config import CONFIG_FILE, load_config, near_run, task_table
from netzoo.config.tasks import TASKS
from netzoo.errors import UserError, did_you_mean, printable
from netzoo.files import sha256_of
from netzoo.json_files import read_json
from netzoo.models.registry import create_model, model_entry
from netzoo.models.summary import variable_shapes
from netzoo.paths import run_path
from netzoo.weights.class_names import (
    CLASSES_FILE,
    IMAGENET_CLASSES,
    imagenet_classes,
    load_class_names,
    stored_class_names,
)
from netzoo.weights.download import download
from netzoo.weights.families import CATALOGUE, FAMILIES
from netzoo.weights.formats.read import INDEX, OWN, read_metadata, read_weights
from netzoo.weights.published import Preprocessing, Project, PublishedWeights
from netzoo.weights.state_dict import Layout, own_layout
from netzoo.workdir import CHECKPOINTS

MAX_PREFIX = 6  # parts of the names of tensors that wrappers may have added
# Options that affect only training, and so do not belong to weights.
_OF_TRAINING = re.compile(r"dtype|.*_rate|norm_momentum|auxiliary_weight|zero_init_last_norm")
_COLOR = [float, float, float]
# What timm writes about a network into the config.json beside its weights.
_HUB_CONFIG = {
    "architecture": str,
    "pretrained_cfg": {
        **{"mean": _COLOR, "std": _COLOR, "input_size": [int, int, int]},
        **{"crop_pct": float, "interpolation": str},
    },
}
_FROM_TENSORFLOW = re.compile(r"(.*[/_.-])?tf_.*")  # timm's names of weights from TensorFlow


class Weights(NamedTuple):
    """Weights and their description."""

    path: Path
    tensors: Mapping[str, np.ndarray]
    model: str | None = None  # name in the registry
    options: Mapping[str, Any] = MappingProxyType({})  # options of `create_model` for the weights
    preprocessing: Preprocessing | None = None
    known_from: str = ""  # source of model, options and preprocessing, or ""
    # The names that the author of the weights gave to the file, its folder and the network.
    called: tuple[str, ...] = ()
    class_names: tuple[str, ...] | None = None  # in the order of the logits; None if unknown


def find_weights(name_or_path: str | Path, *, read: bool = True) -> Weights:
    """Read published weights (downloaded once), a run, or a file.

    Without `read`, the tensors of published weights and runs are omitted.

    Raises:
      UserError: The name, run or file does not exist or cannot be read.
    """
    path = run_path(name_or_path)
    if (path / CHECKPOINTS).is_dir():
        return _run(path, read)
    if is_in_bucket(path):
        raise UserError(
            f"{path} is not a run of netzoo, which has {CONFIG_FILE} and {CHECKPOINTS}/; a file of "
            "weights must be on this machine"
        )
    if path.is_dir():
        if files := _files_of_hub(path):
            return _file(files[0])
        raise UserError(
            f"{path} is neither a run of netzoo, which has {CONFIG_FILE} and {CHECKPOINTS}/, nor a "
            f"folder of weights such as model.safetensors.{near_run(path)}"
        )
    if path.exists():
        return _file(path)
    published = CATALOGUE.get(str(name_or_path))
    if published is None:
        hint = did_you_mean(str(path), CATALOGUE) or " See list_weights() for the names."
        raise UserError(f"{path} is not a file, a run or a name of published weights.{hint}")
    path = download(published) if read else path
    return _published(path, read_weights(path) if read else {}, published, published.name)


def _published(
    path: Path, tensors: Mapping[str, np.ndarray], published: PublishedWeights, known_from: str
) -> Weights:
    known = (published.model, published.options, published.preprocessing, known_from)
    names = imagenet_classes() if published.num_classes == IMAGENET_CLASSES else None
    return Weights(path, tensors, *known, class_names=names)


def _run(path: Path, read: bool) -> Weights:
    from netzoo.workdir.checkpoint import restore_variables

    tensors = flax.traverse_util.flatten_dict(restore_variables(path)[2], sep="/") if read else {}
    names = load_class_names(path) if (path / CLASSES_FILE).is_file() else None
    if not (path / CONFIG_FILE).is_file():
        return Weights(path, tensors, class_names=names)
    config = load_config(path)
    options = {n: x for n, x in config.model.items() if n != "name"}
    options = {n: x for n, x in options.items() if not _OF_TRAINING.fullmatch(n)}
    images = Preprocessing.of_run(config) if "mean" in config.data else None
    known = (config.model.name, options, images, str(path / CONFIG_FILE))
    return Weights(path, tensors, *known, class_names=names)


def _file(path: Path) -> Weights:
    tensors = read_weights(path)
    metadata = read_metadata(path)
    if metadata.get("format") == OWN:
        known = (*_own(path, metadata), "stored in the file")
        return Weights(path, tensors, *known, class_names=stored_class_names(path))
    digest = sha256_of(path)
    for published in CATALOGUE.values():
        if published.sha256 and digest.startswith(published.sha256):
            reason = f"its SHA-256 is that of {published.name}"
            return _published(path, tensors, published, reason)
        if published.sha256 is None and published.address.endswith(f"/{path.name}"):
            reason = f"its name is that of {published.name}"
            return _published(path, tensors, published, reason)
    architecture, images = _hub_config(path.parent / CONFIG_FILE)
    called = (path.name, path.parent.name, architecture)
    return Weights(path, tensors, preprocessing=images, called=called)


def _files_of_hub(folder: Path) -> list[Path]:
    """Return the files of weights in a folder of Hugging Face's hub, the preferred one first."""
    named = [folder / name for name in ("model.safetensors", "pytorch_model.bin")]
    return [*sorted(folder.glob(f"*{INDEX}"), reverse=True), *filter(Path.is_file, named)]


def _hub_config(path: Path) -> tuple[str, Preprocessing | None]:
    """Read timm's name and preprocessing of a network; ("", None) if the file is absent."""
    try:
        config = read_json(path, _HUB_CONFIG)
        given = config["pretrained_cfg"]
        mean, std = ([255 * float(value) for value in given[name]] for name in ("mean", "std"))
        size = int(given["input_size"][-1])
        resize_size = round(size / float(given["crop_pct"]))
        images = Preprocessing.checked(mean, std, resize_size, size, given["interpolation"])
        return str(config["architecture"]), images
    except (ArithmeticError, OSError, ValueError):
        return "", None


def _own(
    path: Path, metadata: Mapping[str, str]
) -> tuple[str | None, dict[str, Any], Preprocessing | None]:
    """Return the metadata written by `save_safetensors`, which is checked."""
    rules = {name: rule for task in TASKS for name, rule in task_table(task).options.items()}
    try:
        options = json.loads(metadata.get("options", "{}"))
        if wrong := [n for n, x in options.items() if n not in rules or not rules[n].holds(x)]:
            raise ValueError(f"option {wrong[0]!r:.100} is unknown or has an invalid value")
        values = json.loads(metadata.get("preprocessing", "null"))
        images = None if values is None else Preprocessing.checked(*values)
    except (AttributeError, RecursionError, TypeError, ValueError) as error:
        raise UserError(printable(f"{path} has invalid metadata: {error}")) from None
    return metadata.get("model"), options, images


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
    if weights.preprocessing is not None:
        reason += f"; images as in {weights.path.with_name(CONFIG_FILE)}"
    images = weights.preprocessing or usual.preprocessing
    return weights._replace(options=usual.options, preprocessing=images, known_from=reason)


def describe_weights(name_or_path: str | Path, model: str, **options: Any) -> Weights:
    """Return the description of weights for the network `model` with these options.

    Nothing is downloaded.

    Raises:
      UserError: The weights cannot be read or belong to another network.
    """
    weights = find_weights(name_or_path, read=False)
    if weights.model not in (None, model):
        raise UserError(
            f"init.weights {name_or_path} belong to {weights.model}, but model.name is {model}; "
            "change either"
        )
    if weights.known_from or not weights.tensors:
        return weights
    module = create_model(model, **options)
    shapes = variable_shapes(module, model_entry(model).image_size)
    return recognise(weights, module, shapes).weights


def differing(options: Mapping[str, Any], module: nn.Module) -> dict[str, Any]:
    """Return the options whose values are not those of the network."""
    return {name: value for name, value in options.items() if getattr(module, name) != value}


def taken(weights: Weights, values: Mapping[str, Any]) -> str:
    """Return a line with the values that netzoo assumed for a file or a run, and the reason."""
    listed = ", ".join(f"{name}={value!r}" for name, value in values.items())
    return f"{weights.path}: {listed} ({weights.known_from})"
