"""Finds weights with their network options and preprocessing.

Published weights, runs and netzoo's own files define options and preprocessing. A file of published
weights is recognised by its checksum or its name. Any other file has only tensor names, which
identify the project and its usual settings.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import flax.traverse_util
import numpy as np

from netzoo.buckets import is_in_bucket
from netzoo.config import CONFIG_FILE, load_config, near_run, task_table
from netzoo.config.tasks import TASKS
from netzoo.errors import UserError, did_you_mean, note_once, printable
from netzoo.files import sha256_of
from netzoo.models.aliases import nearest
from netzoo.models.registry import create_model, list_models, model_entry, own_name
from netzoo.models.summary import variable_shapes
from netzoo.paths import run_path
from netzoo.weights.catalogue import CATALOGUE, published_weights
from netzoo.weights.class_names import (
    CLASSES_FILE,
    IMAGENET_CLASSES,
    imagenet_classes,
    load_class_names,
    stored_class_names,
)
from netzoo.weights.download import download
from netzoo.weights.formats.read import OWN, read_metadata, read_weights
from netzoo.weights.hub.fetch import WEIGHTS
from netzoo.weights.hub.find import describe_file, find_in_folder, find_in_hub, is_hub_name
from netzoo.weights.licence import warn_unless_free
from netzoo.weights.published import Preprocessing, PublishedWeights
from netzoo.weights.recognise import Weights, recognise
from netzoo.workdir import CHECKPOINTS

# Options that affect only training, and so do not belong to weights.
OF_TRAINING = re.compile(r"dtype|.*_rate|norm_momentum|auxiliary_weight|zero_init_last_norm")


def find_weights(name_or_path: str | Path, *, read: bool = True) -> Weights:
    """Read published weights or those of the Hugging Face Hub (downloaded once), a run, or a file.

    Without `read`, the tensors are omitted, except those of a file, which may identify its network.

    Raises:
      UserError: The name, run or file does not exist or cannot be read.
    """
    if is_hub_name(name_or_path):
        return find_in_hub(str(name_or_path), read=read)
    path = run_path(name_or_path)
    if (path / CHECKPOINTS).is_dir():
        return _run(path, read)
    if is_in_bucket(path):
        raise UserError(
            f"{path} is not a run of netzoo, which has {CONFIG_FILE} and {CHECKPOINTS}/; a file of "
            "weights must be on this machine"
        )
    if path.is_dir():
        if found := find_in_folder(path, read=read):
            return found
        if held := next((name for name in WEIGHTS if (path / name).is_file()), None):
            raise UserError(
                f"{path} holds {held}, but no {CONFIG_FILE} with timm's key architecture or "
                "transformers' model_type. Download this file too, or pass the path of the file of "
                "weights and the name of its network"
            )
        raise UserError(
            f"{path} is neither a run of netzoo, which has {CONFIG_FILE} and {CHECKPOINTS}/, nor a "
            f"folder of weights such as model.safetensors.{near_run(path)}"
        )
    if path.exists():
        return _file(path)
    published = published_weights(str(name_or_path))
    if published is None:
        network = str(name_or_path).partition(".")[0]
        reason = None if own_name(network)[0] in list_models() else nearest(network)
        hint = did_you_mean(str(path), CATALOGUE) or " See list_weights() for the names."
        hint = f" Judging by the name, {reason}." if reason else hint
        raise UserError(f"{path} is not a file, a run or a name of published weights.{hint}")
    found = _published(path, {}, published, published.name)
    if not read:
        return found
    path = download(published)
    return found._replace(path=path, tensors=read_weights(path))


def _published(
    path: Path, tensors: Mapping[str, np.ndarray], published: PublishedWeights, known_from: str
) -> Weights:
    known = (published.model, published.options, published.preprocessing, known_from)
    names = imagenet_classes() if published.num_classes == IMAGENET_CLASSES else None
    warn_unless_free(published.name, published.licence)
    return Weights(path, tensors, *known, class_names=names, licence=published.licence)


def _run(path: Path, read: bool) -> Weights:
    from netzoo.workdir.checkpoint import restore_variables

    tensors = flax.traverse_util.flatten_dict(restore_variables(path)[2], sep="/") if read else {}
    names = load_class_names(path) if (path / CLASSES_FILE).is_file() else None
    if not (path / CONFIG_FILE).is_file():
        return Weights(path, tensors, class_names=names)
    config = load_config(path)
    options = {n: x for n, x in config.model.items() if n != "name"}
    options = {n: x for n, x in options.items() if not OF_TRAINING.fullmatch(n)}
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
        if published.sha256 is None and PurePosixPath(published.address).name == path.name:
            reason = f"its name is that of {published.name}"
            return _published(path, tensors, published, reason)
    try:
        found = describe_file(path, lambda: tensors)
    except UserError as error:  # the caller may name the network
        note_once(f"{error}. The settings of {path} are guessed from the names of its tensors")
        found = None
    return found or Weights(path, tensors, called=(path.name, path.parent.name))


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
