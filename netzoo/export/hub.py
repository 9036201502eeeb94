"""Hub folders: weights in timm's names, with what timm and a reader need to use them.

    model.safetensors   the weights
    config.json         timm's name of the network, its preprocessing and the class names
    README.md           a model card

timm reads such a folder with `timm.create_model("local-dir:FOLDER", pretrained=True)`, and the
Hugging Face Hub shows the card.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import flax.traverse_util
import numpy as np
from chex import ArrayTree

from netzoo.console import json_text
from netzoo.errors import UserError
from netzoo.export.card import model_card
from netzoo.files import new_folder, write_text
from netzoo.models.aliases import TIMM_NAMES
from netzoo.models.registry import create_model
from netzoo.models.summary import variable_shapes
from netzoo.weights import load_weights, save_safetensors, to_torch
from netzoo.weights.families import FAMILIES
from netzoo.weights.origin import OF_TRAINING
from netzoo.weights.published import Preprocessing

WEIGHTS_FILE, CONFIG_FILE, CARD_FILE = "model.safetensors", "config.json", "README.md"
_TIMM = "timm"

# timm's arguments for options that differ from the defaults of timm's networks.
_ARGUMENTS = {
    ("norm_epsilon", "mobilenet"): lambda value: {"bn_eps": value},
    ("gelu_approximate", "vit"): lambda value: {"act_layer": "gelu_tanh" if value else "gelu"},
    ("quick_gelu", "vit"): lambda value: {"act_layer": "quick_gelu" if value else "gelu"},
}


class Trained(NamedTuple):
    """A network with unfolded variables, and what is known about it."""

    name: str  # in the registry
    model: nn.Module
    variables: ArrayTree
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    facts: Mapping[str, Any]  # see `netzoo.export.card`


def write_hub_folder(folder: Path, trained: Trained) -> None:
    """Write a hub folder, and read its weights back.

    Raises:
      UserError: The folder exists, timm has no such network, or an option of the network has no
        counterpart in timm.
    """
    if folder.exists():
        raise UserError(f"{folder} exists; give --out the name of a new folder")
    config = hub_config(trained)
    with new_folder(folder) as partial:
        write_weights(partial / WEIGHTS_FILE, trained, _TIMM)
        write_text(partial / CONFIG_FILE, json_text(config, pretty=True) + "\n")
        card = model_card(trained.name, config, folder.name, trained.class_names, trained.facts)
        write_text(partial / CARD_FILE, card)


def write_weights(path: Path, trained: Trained, project: str | None) -> None:
    """Write weights in the names of a project, None for netzoo's own, and read them back.

    Raises:
      UserError: The project's names are unknown, or what was read differs from the weights.
    """
    options = _options(trained)
    described: dict[str, Any] = {}
    if project is None:
        described = {
            "preprocessing": trained.preprocessing,
            "class_names": trained.class_names,
        }
    save_safetensors(path, trained.variables, trained.name, project, **described, **options)
    size = trained.preprocessing.crop_size
    found = load_weights(path, trained.model, image_size=size)
    expected = flax.traverse_util.flatten_dict(trained.variables)
    for name, value in flax.traverse_util.flatten_dict(found).items():
        if not np.array_equal(value, expected[name]):
            raise UserError(f"{'/'.join(name)} of {path} differs from the network")


def hub_config(trained: Trained) -> dict[str, Any]:
    """Return the contents of config.json as timm writes it.

    Raises:
      UserError: timm has no such network, or an option of the network has no counterpart in timm.
    """
    name, images = trained.name, trained.preprocessing
    if name not in TIMM_NAMES:
        raise UserError(
            f"timm has no network {name}; use --format safetensors, or one of the networks "
            f"{', '.join(TIMM_NAMES)}"
        )
    architecture, classes = TIMM_NAMES[name], len(trained.class_names)
    arguments = _arguments(trained, architecture)
    side = images.crop_size
    tensors = to_torch(trained.variables, name, _TIMM, **_options(trained))
    return {
        "architecture": architecture,
        "num_classes": classes,
        "label_names": list(trained.class_names),
        **({"model_args": arguments} if arguments else {}),
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [3, side, side],
            # Position embeddings fit one size.
            "fixed_input_size": "vit" in architecture,
            # timm has no "area"; of Pillow's methods, this one gives the nearest pixels.
            "interpolation": "hamming" if images.interpolation == "area" else images.interpolation,
            "crop_pct": crop_pct(side, images.resize_size),
            "crop_mode": images.crop_mode,
            "mean": [value / 255 for value in images.mean],
            "std": [value / 255 for value in images.std],
            "num_classes": classes,
            "first_conv": _module_of(tensors, lambda x: x.ndim == 4 and x.shape[1] == 3),
            "classifier": _module_of(tensors, lambda x: x.ndim in (2, 4) and len(x) == classes),
        },
    }


def crop_pct(side: int, resize_size: int) -> float:
    """Return a crop fraction from which timm computes the resized side again.

    timm rounds `side / crop_pct` down, which is one pixel too few for some rounded ratios.
    """
    ratio = side / resize_size
    return ratio if math.floor(side / ratio) == resize_size else math.nextafter(ratio, 0)


def _module_of(tensors: Mapping[str, np.ndarray], chosen: Any) -> str:
    """Return the module of the last tensor of weights that is chosen."""
    names = [n for n, x in tensors.items() if n.endswith(".weight") and chosen(x)]
    return names[-1].removesuffix(".weight")


def _options(trained: Trained) -> dict[str, Any]:
    """Return the options that differ from those of the registered network of this name."""
    usual = create_model(trained.name, trained.model.num_classes)
    fields = [n for n in trained.model.__dataclass_fields__ if n not in ("parent", "name", "dtype")]
    return {
        name: value
        for name in fields
        if (value := getattr(trained.model, name)) != getattr(usual, name)
        and isinstance(value, bool | int | float | str | None)
    }


def _arguments(trained: Trained, architecture: str) -> dict[str, Any]:
    """Return timm's arguments for options that differ from those of timm's network."""
    size, module = trained.preprocessing.crop_size, trained.model
    plain = variable_shapes(create_model(trained.name, module.num_classes), size)
    own = variable_shapes(module, size)
    arguments: dict[str, Any] = {}
    unknown = [] if plain == own else ["its shapes"]
    registered = create_model(trained.name, module.num_classes)
    options = {n: getattr(registered, n) for n in _options(trained) if not OF_TRAINING.fullmatch(n)}
    options |= FAMILIES[type(module)].projects[_TIMM].options
    for option, usual in options.items():
        if (value := getattr(module, option)) != usual:
            convert = next(
                (f for (n, part), f in _ARGUMENTS.items() if n == option and part in architecture),
                None,
            )
            arguments |= convert(value) if convert else {}
            unknown += [] if convert else [f"{option}={value!r}, not {usual!r}"]
    if unknown:
        raise UserError(
            f"timm's {architecture} differs from this {trained.name} in {', '.join(unknown)}; use "
            "--format safetensors"
        )
    return arguments
