"""The configuration keys of image classification; see `netzoo.config.keys`."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from netzoo.config import rules
from netzoo.config.keys import Key
from netzoo.config.rules import POSITIVE, SHARE, SWITCH, Rule, at_least, one_of

DEFAULTS = {
    "model.name": "mobilenet_v2",
    "data.source": "synthetic_flowers",  # see netzoo.data.sources.open
    "train.batch_size": 32,
    "evaluation.batch_size": 32,
}

_CHANNELS = Rule(
    lambda x: len(x) == 3 and all(map(rules.is_number, x)),
    "three numbers for red, green and blue, such as (127.5, 127.5, 127.5)",
)
_CHANNELS_ABOVE_0 = Rule(
    lambda x: _CHANNELS.holds(x) and min(x) > 0, "three numbers above 0 for red, green and blue"
)
_AREA = rules.interval(1, "(low, high) with 0 < low <= high <= 1")
_RATIO = rules.interval(math.inf, "(low, high) with 0 < low <= high")
_FOLD = Rule(
    lambda x: len(x) == 2 and all(map(rules.is_whole, x)) and 0 <= x[0] < x[1] and x[1] >= 2,
    "(i, k) with 0 <= i < k and k of at least 2",
)
_WEIGHTS = Rule(
    lambda x: all(isinstance(path, str) and rules.RUN_PATH.holds(path) for path in x),
    "names, files or runs, also in a bucket, such as ('gs://BUCKET/RUN', 'resnet50.tv_in1k')",
)
# The keys of `train` that only some losses use, by loss; see `netzoo.tasks.classification.losses`.
LOSS_KEYS = {
    "cross_entropy": (),
    "poly": ("poly_epsilon",),
    "binary_cross_entropy": ("bce_threshold",),
    "focal": ("focal_gamma", "focal_alpha"),
    "asymmetric": ("asymmetric_gammas", "asymmetric_margin"),
}
# These train one logistic regression for each class, so an image may have several classes.
SIGMOID_LOSSES = ("binary_cross_entropy", "focal", "asymmetric")
# Kinds of test-time augmentation; see `netzoo.tasks.classification.views`.
VIEWS = ("none", "flip", "crops")
# Keys that work on images with one class.
_SINGLE_LABEL = (
    *("train.label_smoothing", "train.balance", "train.class_weights", "distill.teacher"),
    *("evaluation.tta", "evaluation.duplicates"),
)
_GAMMAS = Rule(
    lambda x: len(x) == 2 and all(map(at_least(0).holds, x)),
    "two numbers of at least 0, for the classes of an image and for the others, such as (0.0, 4.0)",
)
_CACHES = one_of("none", "encoded", "decoded")
_POLICIES = one_of("randaugment", "trivialaugment", "autoaugment")
_JITTER = Rule(
    lambda x: len(x) == 4 and all(map(at_least(0).holds, x)) and x[3] <= 0.5,
    "four numbers of at least 0, the last at most 0.5, such as (0.4, 0.4, 0.4, 0.0)",
)
_CLASS_WEIGHTS = Rule(
    lambda x: all(isinstance(name, str) and at_least(0).holds(weight) for name, weight in x),
    "pairs (class, weight of at least 0), such as (('roses', 2.0), ('tulips', 0.5))",
)
_SIZES = Rule(
    lambda x: (
        all(rules.is_whole(epoch) and rules.IMAGE_SIZE.holds(size) for epoch, size in x)
        and all(a[0] < b[0] for a, b in itertools.pairwise([(-1,), *x]))
    ),
    "pairs (epoch, image size) with increasing epochs, such as ((0, 96), (40, 128))",
)

KEYS = (
    Key("data.fold", tuple, _FOLD, "(i, k): fold i of k of the training split validates"),
    Key("data.fold_seed", 0, rules.SEED, "seed of the folds, independent of the run's seed"),
    Key("data.multi_label", False, None, "images have any number of classes, each with a sigmoid"),
    Key("data.image_size", 96, rules.IMAGE_SIZE, "side of the images in pixels"),
    Key("data.cache", "none", _CACHES, "cache in memory: files or pixels"),
    Key("data.on_corrupt", "stop", one_of("stop", "skip"), "action at a corrupt image"),
    Key("data.mean", tuple, _CHANNELS, "mean, 0 to 255; None: from the weights, else 127.5"),
    Key(
        "data.std",
        tuple,
        _CHANNELS_ABOVE_0,
        "standard deviation; None: from the weights, else 127.5",
    ),
    Key("augment.crop_scale", (0.25, 1.0), _AREA, "crop area over image area"),
    Key("augment.crop_ratio", (3 / 4, 4 / 3), _RATIO, "crop width over crop height"),
    Key("augment.flip", True, None, "flip half of the images left to right"),
    Key("augment.policy", "randaugment", _POLICIES, "policy that distorts each image"),
    Key("augment.randaugment_layers", 0, at_least(0), "randaugment: operations per image; 0: none"),
    Key("augment.randaugment_magnitude", 9.0, rules.within(0, 10), "randaugment: their strength"),
    Key(
        "augment.color_jitter",
        (0.0, 0.0, 0.0, 0.0),
        _JITTER,
        "strength of changes of brightness, contrast, saturation, hue",
    ),
    Key("augment.erasing_prob", 0.0, rules.within(0, 1), "share of images that are partly erased"),
    Key("augment.erasing_area", (0.02, 1 / 3), _AREA, "area of the rectangle over image area"),
    Key("augment.erasing_ratio", (0.3, 1 / 0.3), _RATIO, "width of the rectangle over its height"),
    Key("augment.erasing_fill", "noise", one_of("noise", "mean"), "fill; mean: data.mean"),
    Key("augment.custom", str, rules.NAME, "operation added by a module, after the others"),
    Key("augment.repeats", 1, at_least(1), "copies of each image in a batch"),
    Key("augment.mixup", 0.0, at_least(0), "alpha of the Beta distribution; 0: no mixup"),
    Key("augment.cutmix", 0.0, at_least(0), "alpha, as for mixup; with both, each batch uses one"),
    Key("augment.mixup_prob", 1.0, rules.within(0, 1), "share of batches to mix, by either method"),
    Key("augment.mixup_switch_prob", 0.5, rules.within(0, 1), "share of CutMix if both are on"),
    Key("train.loss", "cross_entropy", one_of(*LOSS_KEYS), "loss of the labels"),
    Key("train.bce_threshold", float, SHARE, "binary_cross_entropy: targets above it become 1"),
    Key("train.poly_epsilon", 2.0, at_least(-1), "poly: weight of 1 - p in the loss"),
    Key("train.focal_gamma", 2.0, at_least(0), "focal: exponent of 1 - p"),
    Key("train.focal_alpha", float, rules.OPEN_SHARE, "focal: weight of an image's own classes"),
    Key("train.asymmetric_gammas", (0.0, 4.0), _GAMMAS, "asymmetric: exponents"),
    Key(
        *("train.asymmetric_margin", 0.05, SHARE),
        "asymmetric: subtracted from the probabilities of classes that an image lacks",
    ),
    Key(
        *("train.balance", "none", one_of("none", "loss", "sampling")),
        "gives rare classes higher weights in the loss, or more images",
    ),
    Key(
        *("train.class_weights", (), _CLASS_WEIGHTS),
        "weights in the loss of images of these classes; all other weights are 1",
    ),
    Key("train.freeze_batch_norm", False, None, "train with running statistics and no dropout"),
    Key("train.image_sizes", (), _SIZES, "image sizes from these epochs on; else data.image_size"),
    Key(
        "distill.teacher",
        (),
        _WEIGHTS,
        "weights of one or more teachers, whose probabilities are averaged",
    ),
    Key("distill.kind", "soft", one_of("soft", "hard"), "probabilities, or most probable classes"),
    Key("distill.temperature", 1.0, POSITIVE, "divisor of the logits, for soft"),
    Key(
        "distill.alpha", 0.5, rules.within(0, 1), "weight of the labels; the rest is the teacher's"
    ),
    Key(
        "distill.image_size",
        int,
        rules.IMAGE_SIZE,
        "side of the teachers' images; None: that of their weights",
    ),
    Key("evaluation.crop_pct", 0.875, rules.CROP_PCT, "crop side over the shorter side"),
    Key(
        "evaluation.duplicates",
        str,
        rules.PATH,
        "list from `netzoo check --out`; evaluations also report the accuracy without duplicates",
    ),
    Key(
        *("evaluation.tta", "none", one_of(*VIEWS)),
        "views whose probabilities are averaged: the image and its mirror image, or ten crops",
    ),
    Key("evaluation.top_k", 3, at_least(1), "k of the top-k accuracy"),
)

BATCH_ROWS = "train.batch_size"
# These may change in a continued run: `data.on_corrupt`, because a corrupt image may have stopped
# the run, and `top_k`, because training computes no top-k accuracy.
FREE = ("data.cache", "data.on_corrupt", "evaluation.duplicates", "evaluation.top_k")
LOCAL = ("data.cache",)

OPTIONS = {
    **dict.fromkeys(("auxiliary_dropout_rate", "norm_momentum"), SHARE),
    **dict.fromkeys(("group_norm_epsilon", "standardize_epsilon", "width_multiplier"), POSITIVE),
    "depth_multiplier": POSITIVE,
    **dict.fromkeys(("auxiliary", "transform_input", "minimalistic", "gelu_approximate"), SWITCH),
    **dict.fromkeys(("norm_after_pool", "patch_positions_only", "pre_norm", "quick_gelu"), SWITCH),
    **dict.fromkeys(("fixed_ends", "stride_in_first", "zero_init_last_norm"), SWITCH),
    **dict.fromkeys(("stages", "variant"), rules.FROM_NAME),
    "auxiliary_weight": at_least(0),
    "hidden_features": rules.COUNT,
    **dict.fromkeys(("head_channels", "representation_size"), rules.or_none(rules.COUNT)),
    "padding": one_of("torch", "same"),
    "pool": one_of("token", "gap", "patches"),
    "register_tokens": at_least(0),
    "layer_scale": rules.or_none(POSITIVE),
    "standardize_epsilon_place": one_of("deviation", "variance"),
}


def conflicts(
    values: Mapping[str, Any], defaults: Mapping[str, Any], training: bool
) -> Iterator[tuple[str, str]]:
    """Yield keys whose values conflict with other keys; see `netzoo.config.keys.conflicts`."""
    loss = values["train.loss"]
    for key in (f"train.{name}" for name in itertools.chain(*LOSS_KEYS.values())):
        unused = key.removeprefix("train.") not in LOSS_KEYS[loss]
        if training and unused and values[key] != defaults[key]:
            yield key, f"{defaults[key]!r}, the default, because {loss} does not use it"
    if values["train.class_weights"] and values["train.balance"] == "loss":
        yield "train.class_weights", "() with train.balance = 'loss', which computes them"
    if values["data.multi_label"]:
        if loss not in SIGMOID_LOSSES:
            yield "train.loss", f"{', '.join(SIGMOID_LOSSES)} with data.multi_label"
        for key in _SINGLE_LABEL:
            if values[key] != defaults[key]:
                yield key, f"{defaults[key]!r} with data.multi_label: it needs one class per image"
