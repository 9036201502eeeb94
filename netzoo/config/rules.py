"""What every key of a configuration has to be: one rule a key, and some that join two.

The type of a key is that of its default, and those that are not listed may be anything of it. What
only the data, the devices or the network can tell is checked where these are: splits, the number of
classes, names of networks, image sizes, patterns that decide nothing.
"""

import math

from netzoo.config import kinds
from netzoo.config.kinds import Pair, at_least, one_of

_COMMON = {
    "seed": kinds.SEED,
    "model.name": kinds.NAME,
    "model.dtype": one_of("float32", "bfloat16"),
    "init.weights": kinds.NAME,
    "data.source": kinds.NAME,
    "data.data_dir": kinds.NAME,
    "data.train_split": kinds.NAME,
    "data.validation_split": kinds.NAME,
    # data.test_split may be empty: then there is none.
    "data.num_threads": at_least(1),
    "train.epochs": at_least(1),
    "train.batch_size": at_least(1),
    "train.grad_accum_steps": at_least(1),
    "train.label_smoothing": kinds.SHARE,
    "train.clip_norm": kinds.POSITIVE,
    "train.ema_decay": kinds.SHARE,
    "train.on_nonfinite": one_of("stop", "skip"),
    "train.log_every_steps": at_least(1),
    "optimizer.name": one_of("adamw", "sgd", "rmsprop"),
    "optimizer.learning_rate": kinds.POSITIVE,
    "optimizer.momentum": kinds.SHARE,
    "optimizer.b1": kinds.SHARE,
    "optimizer.b2": kinds.SHARE,
    "optimizer.decay": kinds.SHARE,
    "optimizer.epsilon": kinds.POSITIVE,
    "optimizer.weight_decay": at_least(0),
    "optimizer.lr_mults": kinds.FACTORS_NOT_ALL_0,
    "optimizer.weight_decay_mults": kinds.FACTORS,
    "schedule.name": one_of("cosine", "exponential", "inverse_sqrt", "constant"),
    "schedule.warmup_epochs": at_least(0),
    "schedule.decay_rate": kinds.FRACTION,
    "schedule.decay_epochs": kinds.POSITIVE,
    "evaluation.every_epochs": at_least(0),
    "evaluation.batch_size": at_least(1),
    "evaluation.train_examples": at_least(1),
    "checkpoint.every_steps": at_least(0),
    "checkpoint.keep": at_least(1),
    "sharding.fsdp": kinds.DEVICES,
    "sharding.parameters": kinds.AXES,
    "sharding.min_size": at_least(1),
}

# Of each task every key that has a rule besides its type.
RULES = {
    "image_classification": _COMMON
    | {
        "data.image_size": at_least(1),
        "data.cache": one_of("none", "encoded", "decoded"),
        "data.on_corrupt": one_of("stop", "skip"),
        "data.mean": kinds.channels("numbers", lambda x: True),
        "data.std": kinds.channels("numbers above 0", lambda x: x > 0),
        "augment.crop_scale": kinds.interval(1, "0 < low <= high <= 1"),
        "augment.crop_ratio": kinds.interval(math.inf, "0 < low <= high"),
        "augment.randaugment_layers": at_least(0),
        "augment.randaugment_magnitude": kinds.within(0, 10),
        "augment.mixup": at_least(0),
        "evaluation.crop_pct": kinds.FRACTION,
        "evaluation.top_k": at_least(1),
    },
    "translation": _COMMON
    | {
        "data.vocabulary": kinds.NAME,
        "data.vocabulary_size": at_least(8),
        "data.lengths": kinds.RISING,
        "data.row_multiple": at_least(1),
        "evaluation.beam_size": kinds.within(1, 256),
        "evaluation.length_penalty": at_least(0),
        "evaluation.extra_length": at_least(0),
    },
}

_COMMON_PAIRS = (
    Pair(
        "schedule.warmup_epochs",
        "train.epochs",
        lambda warmup, epochs: warmup < epochs,
        "less than train.epochs ({})",
    ),
    Pair(
        "schedule.warmup_epochs",
        "schedule.name",
        lambda warmup, name: warmup > 0 or name != "inverse_sqrt",
        "more than 0 for the schedule {}, which falls with the root of the steps since then",
    ),
    Pair(
        "optimizer.nesterov",
        "optimizer.name",
        lambda nesterov, name: not nesterov or name == "sgd",
        "False for {}: sgd alone has it",
    ),
)
PAIRS = {
    "image_classification": (
        *_COMMON_PAIRS,
        Pair(
            "train.grad_accum_steps",
            "train.batch_size",
            kinds.divides,
            "a divisor of train.batch_size ({})",
        ),
    ),
    "translation": (
        *_COMMON_PAIRS,
        Pair(
            "train.grad_accum_steps",
            "data.row_multiple",
            kinds.divides,
            "a divisor of data.row_multiple ({})",
        ),
    ),
}

# For training alone: `eval.py` may be given any split.
TRAINING_PAIRS = (
    Pair(
        "data.validation_split",
        "data.train_split",
        kinds.are_apart,
        "no examples of data.train_split, {}",
    ),
    Pair(
        "data.test_split",
        "data.train_split",
        kinds.are_apart,
        "no examples of data.train_split, {}",
    ),
    Pair(
        "data.test_split",
        "data.validation_split",
        kinds.are_apart,
        "no examples of data.validation_split, {}, which choices are made on",
    ),
)

# Options of networks, under `model`; whether the network of `model.name` has one it says itself.
_COMMON_OPTIONS = {
    "dropout_rate": kinds.SHARE,
    "norm_epsilon": kinds.POSITIVE,
    "num_classes": kinds.NOTHING,
}
OPTIONS = {
    "image_classification": _COMMON_OPTIONS
    | {
        "auxiliary_dropout_rate": kinds.SHARE,
        "drop_path_rate": kinds.SHARE,
        "norm_momentum": kinds.SHARE,
        "group_norm_epsilon": kinds.POSITIVE,
        "standardize_epsilon": kinds.POSITIVE,
        "auxiliary": kinds.SWITCH,
        "transform_input": kinds.SWITCH,
        "minimalistic": kinds.SWITCH,
        "gelu_approximate": kinds.SWITCH,
        "stride_in_first": kinds.SWITCH,
        "zero_init_last_norm": kinds.SWITCH,
        "width_multiplier": kinds.POSITIVE,
        "auxiliary_weight": at_least(0),
        "hidden_features": kinds.COUNT,
        "representation_size": kinds.or_none(kinds.COUNT),
        "padding": one_of("torch", "same"),
        "pool": one_of("token", "gap"),
        "standardize_epsilon_place": one_of("deviation", "variance"),
        "stages": kinds.NOTHING,
        "variant": kinds.NOTHING,
    },
    "translation": _COMMON_OPTIONS
    | {
        "variant": kinds.VARIANT,
        "attention_dropout_rate": kinds.SHARE,
        "mlp_dropout_rate": kinds.SHARE,
        "norm_first": kinds.SWITCH,
        "share_embeddings": kinds.SWITCH,
        "final_norm": kinds.or_none(kinds.SWITCH),
        "pad_id": kinds.NOTHING,
    },
}
