"""Checks of a configuration that need neither data nor devices."""

from typing import Any

from ml_collections import ConfigDict

from netzoo.errors import UserError

# Whether the rule holds, the key, what was found, what was expected.
Rule = tuple[bool, str, Any, str]


def validate(config: ConfigDict) -> None:
    """Checks ranges and combinations.

    Raises:
      UserError: With every fault found, one a line.
    """
    rules = [*_common(config), *_TASKS.get(config.task, lambda config: [])(config)]
    faults = [f"{key} is {found}; expected {wanted}" for ok, key, found, wanted in rules if not ok]
    if faults:
        raise UserError("\n".join(faults))


def _common(config: ConfigDict) -> list[Rule]:
    train, schedule = config.train, config.schedule
    dtype, parts, fsdp = config.model.dtype, train.accumulate_steps, config.sharding.fsdp
    decays = schedule.name != "inverse_sqrt" or schedule.warmup_epochs > 0
    return [
        _at_least(1, "train.epochs", train.epochs),
        _at_least(1, "train.batch_size", train.batch_size),
        _at_least(1, "train.log_every_steps", train.log_every_steps),
        _at_least(1, "train.accumulate_steps", parts),
        _at_least(1, "evaluation.batch_size", config.evaluation.batch_size),
        _at_least(1, "checkpoint.keep", config.checkpoint.keep),
        _at_least(1, "sharding.min_size", config.sharding.min_size),
        (fsdp >= 1 or fsdp == -1, "sharding.fsdp", fsdp, "at least 1, or -1 for all devices"),
        _below_one("train.label_smoothing", train.label_smoothing),
        _below_one("train.ema_decay", train.ema_decay),
        (
            dtype in ("float32", "bfloat16"),
            "model.dtype",
            dtype,
            "float32 or bfloat16",
        ),
        (
            schedule.warmup_epochs < train.epochs,
            "schedule.warmup_epochs",
            schedule.warmup_epochs,
            f"less than train.epochs ({train.epochs})",
        ),
        (
            decays,
            "schedule.warmup_epochs",
            schedule.warmup_epochs,
            "more than 0 for the schedule inverse_sqrt, which falls with the root of the steps "
            "since then",
        ),
    ]


def _image_classification(config: ConfigDict) -> list[Rule]:
    train, data, augment = config.train, config.data, config.augment
    low, high = augment.crop_scale
    magnitude, fraction = augment.randaugment_magnitude, config.evaluation.crop_fraction
    return [
        _divisor_of("train.batch_size", train.batch_size, train.accumulate_steps),
        _at_least(1, "data.image_size", data.image_size),
        _at_least(0, "augment.mixup", augment.mixup),
        (
            data.cache in ("none", "encoded", "decoded"),
            "data.cache",
            data.cache,
            "none, encoded or decoded",
        ),
        (0 < low <= high <= 1, "augment.crop_scale", (low, high), "0 < low <= high <= 1"),
        (0 <= magnitude <= 10, "augment.randaugment_magnitude", magnitude, "0 to 10"),
        (0 < fraction <= 1, "evaluation.crop_fraction", fraction, "in (0, 1]"),
    ]


def _translation(config: ConfigDict) -> list[Rule]:
    train, data, evaluation = config.train, config.data, config.evaluation
    lengths = tuple(data.lengths)
    rises = bool(lengths) and all(a < b for a, b in zip((1, *lengths), lengths, strict=False))
    return [
        _divisor_of("data.row_multiple", data.row_multiple, train.accumulate_steps),
        _at_least(1, "data.row_multiple", data.row_multiple),
        _at_least(8, "data.vocabulary_size", data.vocabulary_size),
        _at_least(1, "evaluation.beam_size", evaluation.beam_size),
        _at_least(0, "evaluation.length_penalty", evaluation.length_penalty),
        _at_least(0, "evaluation.extra_length", evaluation.extra_length),
        (rises, "data.lengths", lengths, "numbers that rise from at least 2"),
    ]


def _at_least(bound: int, key: str, found: float) -> Rule:
    return found >= bound, key, found, f"at least {bound}"


def _below_one(key: str, found: float) -> Rule:
    return 0 <= found < 1, key, found, "in [0, 1)"


def _divisor_of(key: str, value: int, parts: int) -> Rule:
    ok = parts >= 1 and value % max(parts, 1) == 0
    return ok, "train.accumulate_steps", parts, f"a divisor of {key} ({value})"


_TASKS = {"image_classification": _image_classification, "translation": _translation}
