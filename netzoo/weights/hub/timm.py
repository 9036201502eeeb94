"""Networks and preprocessing of timm by the config.json of its repositories.

The meaning of the fields is that of timm 1.0.31 (`models/_hub.py`, `data/config.py`).
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from netzoo.config import rules
from netzoo.errors import UserError
from netzoo.json_files import check_shape
from netzoo.models.aliases import nearest
from netzoo.models.registry import create_model, list_models, own_name
from netzoo.weights.class_names import IMAGENET_CLASSES, imagenet_classes
from netzoo.weights.families import FAMILIES
from netzoo.weights.hub.description import Description, levels, names_of_classes, refusal
from netzoo.weights.published import Preprocessing, Project

_SIZE = re.compile(r"(?<=_)\d{3}$")  # pixels, at the end of the name of a Vision Transformer
_TENSORFLOW = "tf_"  # weights from TensorFlow, with its padding and epsilon
_OF_TRAINING = re.compile(r".*drop.*|fix_init|weight_init|pretrained\w*|checkpoint_path|scriptable")

# Arguments of timm's Vision Transformer: netzoo's options and their rules.
_OF_VIT = {
    "init_values": ("layer_scale", rules.or_none(rules.POSITIVE)),
    "no_embed_class": ("patch_positions_only", rules.SWITCH),
    "pre_norm": ("pre_norm", rules.SWITCH),
    "reg_tokens": ("register_tokens", rules.COUNT),
}
_SIZES = [int, int, int]  # channels, height, width
_COLOR = [float, float, float]
_SHAPE = {
    "architecture": str,
    "num_classes?": (int, None),
    "global_pool?": (str, None),
    "model_args?": ({"*": object}, None),
    "pretrained_cfg?": {"*": object},
}
_CONFIGURATION = {
    **{"input_size": _SIZES, "test_input_size?": (_SIZES, None)},
    **{"crop_pct": float, "test_crop_pct?": (float, None), "crop_mode?": (str, None)},
    **{"interpolation": str, "mean": _COLOR, "std": _COLOR, "license?": (str, None)},
}


def describe(config: Mapping[str, Any], where: str) -> Description:
    """Describe weights by timm's config.json; `where` names it in errors.

    Raises:
      UserError: netzoo does not have the network or one of its options, or the file is damaged.
    """
    try:
        check_shape(config, _SHAPE)
        # Files of 2022 have the fields of `pretrained_cfg` beside the others.
        images = config.get("pretrained_cfg", config)
        check_shape(images, _CONFIGURATION)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
    architecture = config["architecture"]
    name, implied, project = _network(architecture)
    if project is None:
        raise UserError(
            f"{where}: netzoo does not have the architecture {architecture!r:.100} of timm"
            + (f"; {reason}" if (reason := nearest(architecture)) else "")
        )
    classes = config.get("num_classes", images.get("num_classes"))
    return Description(
        name,
        _options({**project.options, **implied}, config, where),
        classes,
        _preprocessing(images, where),
        _class_names(config, images, classes, where),
        images.get("license"),
    )


def _network(architecture: str) -> tuple[str, dict[str, Any], Project | None]:
    """Return netzoo's name and options for a network of timm, whatever its image size.

    The last value describes the names of its tensors; it is None if netzoo lacks the network.
    """
    is_vit = architecture.startswith(("vit_", "deit"))
    name, options = own_name(_SIZE.sub("224", architecture) if is_vit else architecture)
    family = FAMILIES.get(type(create_model(name))) if name in list_models() else None
    kind = "timm tf_" if architecture.startswith(_TENSORFLOW) else "timm"
    return name, options, family.projects.get(kind) if family else None


def _class_names(
    config: Mapping[str, Any], images: Mapping[str, Any], classes: int | None, where: str
) -> tuple[str, ...] | None:
    """Return the names that the file gives, or those of ImageNet-1k if timm's tag says so."""
    given = config.get("label_names", images.get("label_names"))
    if names := names_of_classes(given, classes, where, "label_names"):
        return names
    tag = images.get("tag")
    is_imagenet = classes == IMAGENET_CLASSES and isinstance(tag, str) and tag.endswith("in1k")
    return imagenet_classes() if is_imagenet else None


def _options(usual: Mapping[str, Any], config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the options of a network: those usual for timm, and the file's own."""
    options = dict(usual)
    arguments = dict(config.get("model_args") or {})
    pool = arguments.pop("global_pool", config.get("global_pool"))
    if "gelu_approximate" in options:  # a Vision Transformer or a hybrid
        without_token = arguments.pop("class_token", True) is False
        fc_norm = arguments.pop("fc_norm", None)
        if pool == "avg":
            options["pool"] = "gap" if without_token else "patches"
            options["norm_after_pool"] = fc_norm is not False
        elif pool not in (None, "token") or without_token:
            raise refusal(where, "global_pool", pool, "'token', or 'avg'")
        elif fc_norm:
            options["norm_after_pool"] = True
    elif pool not in (None, "avg"):
        raise refusal(where, "global_pool", pool, "'avg'")
    for argument, value in arguments.items():
        options |= _option(argument, value, options, where)
    return options


def _option(argument: str, value: Any, options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the options of one argument of timm's network."""
    if _OF_TRAINING.fullmatch(argument) or argument in ("img_size", "num_classes"):
        return {}
    if argument == "in_chans" and value == 3:
        return {}
    if argument == "bn_eps" and "padding" in options and isinstance(value, float):
        return {"norm_epsilon": value}
    if argument == "act_layer" and "gelu_approximate" in options:
        if value in ("gelu", "gelu_tanh", "quick_gelu"):
            return {"gelu_approximate": value == "gelu_tanh", "quick_gelu": value == "quick_gelu"}
        raise refusal(where, "model_args.act_layer", value, "'gelu', 'gelu_tanh' or 'quick_gelu'")
    if argument in _OF_VIT and "gelu_approximate" in options and _OF_VIT[argument][1].holds(value):
        return {_OF_VIT[argument][0]: value}
    raise refusal(where, f"model_args.{argument}", value, "a config.json without this argument")


def _preprocessing(images: Mapping[str, Any], where: str) -> Preprocessing:
    """Return the preprocessing with which timm reports the accuracy of weights."""
    field = "test_input_size" if images.get("test_input_size") else "input_size"
    channels, height, width = images[field]
    if channels != 3 or height != width:
        raise refusal(where, f"pretrained_cfg.{field}", images[field], "3 channels and a square")
    crop = images.get("test_crop_pct") or images["crop_pct"]
    try:
        mean, std = (levels(images[key]) for key in ("mean", "std"))
        how = images["interpolation"], images.get("crop_mode") or "center"
        return Preprocessing.checked(mean, std, math.floor(width / crop), width, *how)
    except (ArithmeticError, ValueError) as error:
        raise UserError(f"{where}: pretrained_cfg: {error}") from None
