"""Networks and preprocessing of transformers by the files of its repositories.

The meaning of the fields of config.json and preprocessor_config.json is that of transformers 5.24
(`models/*/configuration_*.py`, `models/*/image_processing_*.py`).
"""

from collections.abc import Callable, Mapping
from typing import Any

from netzoo.errors import UserError
from netzoo.json_files import check_shape
from netzoo.models import mobilenet_v1, resnet, vit
from netzoo.models.registry import create_model, list_models
from netzoo.weights.hub.description import Description, expect, levels, names_of_classes, refusal
from netzoo.weights.published import Preprocessing

_INTERPOLATIONS = {2: "bilinear", 3: "bicubic", 5: "hamming"}  # Pillow's numbers
_SMALLEST_SQUASHED = 384  # pixels; ConvNeXT's processor crops smaller images
_CONVNEXT = ("ConvNextImageProcessor", "ConvNextImageProcessorFast", "ConvNextFeatureExtractor")
_RGB = 3

_SHAPE = {
    **{"model_type": str, "architectures?": ([str], None), "num_channels?": int},
    **{"id2label?": ({"*": str}, None), "image_size?": (int, [int, int])},
}
_SIDES = (int, {"shortest_edge?": int, "height?": int, "width?": int})
_PROCESSOR = {
    **{"size": _SIDES, "crop_size?": (_SIDES, None), "resample": int, "crop_pct?": (float, None)},
    **{"image_mean": [float, float, float], "image_std": [float, float, float]},
    **{"do_resize?": (bool, None), "do_rescale?": (bool, None), "do_normalize?": (bool, None)},
    **{"do_center_crop?": (bool, None), "rescale_factor?": (float, None)},
}


def describe(
    config: Mapping[str, Any], processor: Mapping[str, Any] | None, where: str
) -> Description:
    """Describe weights by config.json and preprocessor_config.json.

    `where` names config.json in errors.

    Raises:
      UserError: netzoo does not have the network or one of its options, or a file is damaged.
    """
    _check(config, _SHAPE, where)
    kind = config["model_type"]
    if kind not in _NETWORKS:
        raise UserError(
            f"{where}: netzoo does not have the model_type {kind!r:.100} of transformers; "
            f"expected one of {', '.join(_NETWORKS)}"
        )
    expect(where, config, {"num_channels": _RGB})
    shape, network = _NETWORKS[kind]
    _check(config, shape, where)
    name, options = network(config, where)
    labels = config.get("id2label")
    is_classifier = _is_classifier(config, where)
    classes = (len(labels) if labels else None) if is_classifier else 0
    ordered = [labels.get(str(i)) for i in range(len(labels))] if labels and classes else None
    if ordered == [f"LABEL_{i}" for i in range(len(ordered or []))]:
        ordered = None  # what transformers writes for classes without names
    if processor is None:
        raise UserError(
            f"{where}: preprocessor_config.json, which describes the preprocessing of the images, "
            "is missing; put one beside it"
        )
    images = _preprocessing(processor, where.replace("config.json", "preprocessor_config.json", 1))
    prefix = "" if is_classifier else f"{kind}."
    names = names_of_classes(ordered, classes, where, "id2label")
    return Description(name, options, classes, images, names, None, prefix)


def _is_classifier(config: Mapping[str, Any], where: str) -> bool:
    """Return whether weights have a classifier, or belong to the network below it."""
    architectures = config.get("architectures") or ["ForImageClassification"]
    if architectures[0].endswith("ForImageClassification"):
        return True
    if architectures[0].endswith("Model"):
        return False
    raise refusal(where, "architectures", architectures, "...ForImageClassification or ...Model")


Found = tuple[str, dict[str, Any]]  # the name of a network in the registry, and its options


def _vit(config: Mapping[str, Any], where: str) -> Found:
    expect(where, config, {"qkv_bias": True})
    activations = {"gelu": False, "gelu_new": True, "gelu_pytorch_tanh": True}
    activation = config["hidden_act"]
    if activation not in activations:
        raise refusal(where, "hidden_act", activation, " or ".join(map(repr, activations)))
    variant = vit.Variant(
        *(config[key] for key in ("hidden_size", "num_hidden_layers", "intermediate_size")),
        *(config[key] for key in ("num_attention_heads", "patch_size")),
    )
    options = {
        "gelu_approximate": activations[activation],
        "norm_epsilon": float(config["layer_norm_eps"]),
    }
    return _named("vit_*", variant, where), options


def _resnet(config: Mapping[str, Any], where: str) -> Found:
    bottleneck = config["layer_type"] == "bottleneck"
    widths = [n * (resnet.BOTTLENECK_EXPANSION if bottleneck else 1) for n in (64, 128, 256, 512)]
    expect(
        where,
        config,
        {
            **{"layer_type": "bottleneck" if bottleneck else "basic", "hidden_sizes": widths},
            **{"embedding_size": 64, "hidden_act": "relu", "downsample_in_first_stage": False},
        },
    )
    depths = config["depths"]
    if len(depths) != len(widths):
        raise refusal(where, "depths", depths, "four numbers")
    variant = resnet.Variant(tuple(depths), bottleneck)
    in_first = bottleneck and bool(config.get("downsample_in_bottleneck"))
    options = {"padding": "torch", "norm_epsilon": 1e-5, "stride_in_first": in_first}
    return _named("resnet*", variant, where), options


def _mobilenet_v1(config: Mapping[str, Any], where: str) -> Found:
    expect(where, config, {"hidden_act": "relu6", "min_depth": mobilenet_v1.MIN_CHANNELS})
    return _mobilenet("mobilenet_v1", config)


def _mobilenet_v2(config: Mapping[str, Any], where: str) -> Found:
    expected: dict[str, Any] = {
        "depth_divisible_by": 8,
        "min_depth": 8,
        "expand_ratio": 6,
        "output_stride": 32,
    }
    expected |= {"first_layer_is_expansion": True, "hidden_act": "relu6"}
    if config["depth_multiplier"] < 1:
        expected["finegrained_output"] = True
    expect(where, config, expected)
    return _mobilenet("mobilenet_v2", config)


def _mobilenet(name: str, config: Mapping[str, Any]) -> Found:
    width = float(config["depth_multiplier"])
    options: dict[str, Any] = {
        "padding": "same" if config.get("tf_padding", True) else "torch",
        "norm_epsilon": float(config["layer_norm_eps"]),
    }
    for other in list_models(f"{name}*"):
        if create_model(other) == create_model(name, width_multiplier=width):
            return other, options
    return name, {"width_multiplier": width, **options}


def _named(pattern: str, variant: Any, where: str) -> str:
    """Return the registered network of a variant, without further options such as layer scale."""
    networks = {name: create_model(name) for name in list_models(pattern)}
    for name, network in networks.items():
        if network == type(network)(variant=variant):
            return name
    raise UserError(
        f"{where}: netzoo has no network {pattern} with {variant}; it has {', '.join(networks)}"
    )


def _preprocessing(processor: Mapping[str, Any], where: str) -> Preprocessing:
    """Return the preprocessing that an image processor describes."""
    _check(processor, _PROCESSOR, where)
    for field in ("do_resize", "do_rescale"):
        if processor.get(field) is False:
            raise refusal(where, field, False, "true")
    factor = processor.get("rescale_factor")
    if factor is not None and abs(255 * factor - 1) > 1e-6:
        raise refusal(where, "rescale_factor", factor, "1/255")
    if processor["resample"] not in _INTERPOLATIONS:
        expected = ", ".join(f"{n} ({name})" for n, name in _INTERPOLATIONS.items())
        raise refusal(where, "resample", processor["resample"], expected)
    resize_size, crop_size, crop_mode = _sizes(processor, where)
    normalizes = processor.get("do_normalize") is not False
    mean, std = (
        levels(processor[key]) if normalizes else [default] * _RGB
        for key, default in (("image_mean", 0.0), ("image_std", 255.0))
    )
    try:
        interpolation = _INTERPOLATIONS[processor["resample"]]
        return Preprocessing.checked(mean, std, resize_size, crop_size, interpolation, crop_mode)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def _sizes(processor: Mapping[str, Any], where: str) -> tuple[int, int, str]:
    """Return `resize_size`, `crop_size` and `crop_mode` of the preprocessing."""
    kind = processor.get("image_processor_type", processor.get("feature_extractor_type"))
    size = _side(processor["size"], "size", where)
    if kind in _CONVNEXT:
        if size >= _SMALLEST_SQUASHED:
            return size, size, "squash"
        return int(size / (processor.get("crop_pct") or 224 / 256)), size, "center"
    crops = bool(processor.get("do_center_crop") and processor.get("crop_size"))
    crop_size = _side(processor["crop_size"], "crop_size", where) if crops else size
    # A number is the side of a square, or the shorter side for processors that crop afterwards.
    given = processor["size"]
    keeps_ratio = crops if isinstance(given, int) else "shortest_edge" in given
    return size, crop_size, "center" if keeps_ratio else "squash"


def _side(size: Any, field: str, where: str) -> int:
    """Return the side of a square, or the length of the shorter side."""
    if isinstance(size, int):
        return size
    sides = {size[key] for key in ("shortest_edge", "height", "width") if key in size}
    if len(sides) != 1:
        raise refusal(where, field, size, "a square")
    return sides.pop()


def _check(value: Any, shape: Any, where: str) -> None:
    try:
        check_shape(value, shape)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


_WIDTH = {"depth_multiplier": float, "layer_norm_eps": float, "tf_padding?": bool}
_NETWORKS: dict[str, tuple[dict[str, Any], Callable[[Mapping[str, Any], str], Found]]] = {
    "vit": (
        {
            **{"hidden_size": int, "num_hidden_layers": int, "num_attention_heads": int},
            **{"intermediate_size": int, "patch_size": int, "hidden_act": str},
            "layer_norm_eps": float,
        },
        _vit,
    ),
    "resnet": ({"depths": [int], "hidden_sizes": [int], "layer_type": str}, _resnet),
    "mobilenet_v1": (_WIDTH, _mobilenet_v1),
    "mobilenet_v2": (_WIDTH, _mobilenet_v2),
}
