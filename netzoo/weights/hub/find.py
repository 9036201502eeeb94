"""Finds weights by their names on the Hugging Face Hub, or in folders like its repositories."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from netzoo.config import CONFIG_FILE
from netzoo.errors import UserError, note_once
from netzoo.json_files import read_json
from netzoo.models.registry import create_model
from netzoo.models.summary import variable_shapes
from netzoo.weights.fit import check_fit
from netzoo.weights.formats.read import read_weights
from netzoo.weights.hub import timm, transformers
from netzoo.weights.hub.description import Description
from netzoo.weights.hub.fetch import PROCESSOR, SCHEME, WEIGHTS, Repository, Shapes, repository
from netzoo.weights.licence import is_free, warn_unless_free
from netzoo.weights.recognise import Weights, recognise

_OBJECT = {"*": object}


def is_hub_name(name_or_path: str | Path) -> bool:
    """Return whether a name begins with `hf:`."""
    return str(name_or_path).startswith(SCHEME)


def find_in_hub(name: str, *, read: bool = True) -> Weights:
    """Return the weights of a repository, e.g. `hf:timm/resnet50.a1_in1k@main`.

    Without `read`, only the description is downloaded, and the tensors are omitted.

    Raises:
      UserError: See `netzoo.weights.hub.fetch` and `describe`; or the tensors do not fit the
        network, which is found before a .safetensors file is downloaded.
    """
    found = repository(name)
    weights, prefix = _description(found)
    if not read:
        return weights
    files = found.weights(lambda shapes: _check_header(weights, prefix, shapes))
    return weights._replace(tensors=_with_prefix(read_weights(files.path), prefix))


def find_in_folder(folder: Path, *, read: bool = True) -> Weights | None:
    """Return the weights of a folder with a config.json of timm or transformers.

    The result is None if the folder has no such file, or no weights. Without `read`, the tensors
    are omitted.

    Raises:
      UserError: See `describe`; or the weights cannot be read.
    """
    files = [path for name in WEIGHTS if (path := folder / name).is_file()]
    if not files:
        return None
    return describe_file(files[0], lambda: read_weights(files[0]) if read else {})


def describe_file(path: Path, tensors: Callable[[], Mapping[str, np.ndarray]]) -> Weights | None:
    """Return the weights of a file beside a config.json of timm or transformers, or None.

    `tensors` is called only if there is such a config.json that netzoo can express.

    Raises:
      UserError: See `describe`.
    """
    config, processor = path.with_name(CONFIG_FILE), path.with_name(PROCESSOR)
    if not config.is_file() or not is_hub_config(found := _read(config)):
        return None
    described = describe(found, _read(processor) if processor.is_file() else None, str(config))
    if described.licence:
        _announce(str(path), described.licence)
    weights = _weights(path, described, str(config))
    return weights._replace(tensors=_with_prefix(tensors(), described.prefix))


def describe(
    config: Mapping[str, Any], processor: Mapping[str, Any] | None, where: str
) -> Description:
    """Return what config.json and preprocessor_config.json say; `where` names the former.

    Raises:
      UserError: netzoo does not have the network or one of its options, or a file is damaged.
    """
    if not is_hub_config(config):
        raise UserError(
            f"{where} has neither timm's key architecture nor transformers' model_type, so the "
            "network is unknown; pass the path of the file of weights and model=NAME"
        )
    if "architecture" in config:
        return timm.describe(config, where)
    return transformers.describe(config, processor, where)


def is_hub_config(config: Mapping[str, Any]) -> bool:
    """Return whether config.json has the layout of timm or of transformers."""
    return "architecture" in config or "model_type" in config


def _description(found: Repository) -> tuple[Weights, str]:
    """Return the weights without tensors, and the prefix that the names of tensors lack."""
    where = f"{CONFIG_FILE} of {found.name}"
    processor = found.processor() if "model_type" in found.config else None
    description = describe(found.config, processor, where)
    description = description._replace(licence=description.licence or found.licence())
    _announce(found.name, description.licence)
    return _weights(Path(found.name), description, CONFIG_FILE), description.prefix


def _weights(path: Path, description: Description, known_from: str) -> Weights:
    return Weights(
        path,
        {},
        description.model,
        description.options,
        description.preprocessing,
        known_from,
        class_names=description.class_names,
        num_classes=description.num_classes,
        licence=description.licence,
    )


def _announce(name: str, licence: str | None) -> None:
    """Print the licence of weights on standard error, once."""
    warn_unless_free(name, licence)
    if is_free(licence):
        note_once(f"{name}: licence {licence}")


def _check_header(weights: Weights, prefix: str, found: Shapes) -> None:
    """Raise a UserError if tensors of these shapes do not fit the network of the weights."""
    assert weights.model is not None and weights.preprocessing is not None
    zero = np.float32(0)
    tensors = _with_prefix({n: np.broadcast_to(zero, shape) for n, shape in found.items()}, prefix)
    module = create_model(weights.model, weights.num_classes or 0, **weights.options)
    size = weights.preprocessing.crop_size
    shapes = variable_shapes(module, size)
    recognised = recognise(weights._replace(tensors=tensors), module, shapes)
    check_fit(recognised, module, shapes, size, name=weights.model)


def _with_prefix(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in tensors.items()}


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path, _OBJECT)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from None
