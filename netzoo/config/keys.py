"""The keys of every task, with their defaults, rules and meanings."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from netzoo.config import rules
from netzoo.config.rules import Rule, at_least, one_of


class Key(NamedTuple):
    """A key of the configuration."""

    name: str  # section and name, such as "train.epochs"
    default: Any  # or the type of an optional key, whose default is None
    rule: Rule | None  # requirement besides the type; None if the type suffices
    meaning: str  # one line for --help and docs/configs.md

    @property
    def optional(self) -> bool:
        """Whether the key may be None."""
        return isinstance(self.default, type)

    @property
    def type(self) -> type:
        """The type of the key's values."""
        return self.default if self.optional else type(self.default)


_SCHEDULES = one_of(
    *("cosine", "cosine_restarts", "onecycle", "linear", "exponential", "inverse_sqrt"),
    *("constant", "plateau"),
)
# The keys of `optimizer` that only some optimizers use, by optimizer.
OPTIMIZER_KEYS = {
    "adamw": ("b1", "b2", "epsilon"),
    "sgd": ("momentum", "nesterov"),
    "rmsprop": ("momentum", "decay", "epsilon"),
    "rmsprop_tf": ("momentum", "decay", "epsilon"),
    "lamb": ("b1", "b2", "epsilon"),
    "lars": ("momentum",),
    "lion": ("b1", "b2"),
    "muon": ("momentum", "b1", "b2", "epsilon"),
    "schedule_free_adamw": ("b1", "b2", "epsilon"),
    "schedule_free_sgd": ("b1",),
}
# Optimizers whose average of the weights replaces the decay of the learning rate.
SCHEDULE_FREE = ("schedule_free_adamw", "schedule_free_sgd")


def _for(key: str) -> str:
    """Return "for" and the optimizers that use a key."""
    return "for " + ", ".join(name for name, used in OPTIMIZER_KEYS.items() if key in used)


_OPTIMIZERS = Rule(rules.NAME.holds, f"{', '.join(OPTIMIZER_KEYS)} or one added by a module")
_WARMUPS = one_of("num_updates", "debias", "none")
_POLICIES = ("none", "blocks", "dots_saveable", "dots_with_no_batch_dims_saveable")
_REMAT = Rule(
    lambda x: x in _POLICIES,
    f"none (not False), blocks (not True), {' or '.join(_POLICIES[2:])}",
)
_WRITER_NAMES = ("jsonl", "tensorboard", "wandb", "mlflow", "trackio")
_WRITERS = Rule(
    lambda x: "jsonl" in x and len({*x}) == len(x) and all(name in _WRITER_NAMES for name in x),
    f"'jsonl', which netzoo reads, and some of {', '.join(_WRITER_NAMES[1:])}, once each",
)
# Factors by parameter path.
_ALL = ((r".*", 1.0),)
_NOT_VECTORS = ((r".*/(bias|scale)", 0.0), *_ALL)

# The `DEFAULTS` of a task replace empty defaults and 0 where these are not valid.
KEYS = (
    Key("seed", 0, rules.SEED, "initial parameters, order of examples, augmentation, dropout"),
    Key(
        "modules",
        (),
        rules.MODULES,
        "modules that add networks, optimizers, sources or augmentations",
    ),
    Key("model.name", "", rules.NAME, "network; its options are further keys of model"),
    Key("model.dtype", "float32", one_of("float32", "bfloat16"), "dtype of activations"),
    Key(
        "matmul_precision",
        "default",
        one_of("default", "bfloat16", "high", "highest"),
        "precision of float32 products; default: JAX's setting; CPUs ignore high and highest",
    ),
    Key("init.weights", str, rules.RUN_PATH, "initial weights: a file, a run or a published name"),
    Key("data.source", "", rules.NAME, "source of the examples"),
    Key("data.data_dir", str, rules.DATA_PATH, "TFDS folder; None: ~/tensorflow_datasets"),
    Key("data.train_split", str, rules.NAME, "examples to train on; None: see docs/data.md"),
    Key(
        "data.validation_split",
        str,
        rules.NAME,
        "examples to evaluate during training; they select the best weights",
    ),
    Key("data.test_split", str, rules.NAME, "examples of the final evaluation, not for training"),
    Key(
        "data.on_change",
        "stop",
        one_of("stop", "continue"),
        "action if a continued run finds other data",
    ),
    Key("data.num_threads", 2, at_least(1), "threads that prepare batches"),
    Key("train.epochs", 10, at_least(1), "passes over the training split"),
    Key(
        "train.batch_size", 0, at_least(1), "images, or tokens including padding, over all devices"
    ),
    Key(
        "train.grad_accum_steps", 1, at_least(1), "parts of a batch to compute one after the other"
    ),
    Key("train.label_smoothing", 0.0, rules.SHARE, "share of the target spread over all classes"),
    Key("train.clip_norm", float, rules.POSITIVE, "maximum global norm of the gradient"),
    Key("train.ema_decay", 0.0, rules.SHARE, "decay of the moving average of the weights; 0: none"),
    Key("train.ema_warmup", "num_updates", _WARMUPS, "start of the moving average"),
    Key(
        *("train.swa_epochs", 0, at_least(0)),
        "epochs at the end whose weights are averaged equally; 0: no such average",
    ),
    Key(
        *("train.batch_norm_batches", 0, at_least(0)),
        "training batches to re-estimate the average's BatchNorm statistics; 0: they are averaged",
    ),
    Key(
        *("train.batch_norm_groups", 1, at_least(1)),
        "parts of a batch that BatchNorm normalises separately, such as the number of devices",
    ),
    Key(
        *("train.patience", 0, at_least(0)),
        "evaluations without a better validation score before training stops; 0: trains to the end",
    ),
    Key("train.on_nonfinite", "stop", one_of("stop", "skip"), "action at a non-finite step"),
    Key("train.remat", "none", _REMAT, "recompute activations: less memory, longer steps"),
    Key("train.log_every_steps", 10, at_least(1), "steps between logged metrics"),
    Key("optimizer.name", "adamw", _OPTIMIZERS, "update rule"),
    Key("optimizer.learning_rate", 1e-3, rules.POSITIVE, "peak learning rate"),
    Key("optimizer.momentum", 0.9, rules.SHARE, f"momentum, {_for('momentum')}"),
    Key("optimizer.nesterov", False, None, f"Nesterov momentum, {_for('nesterov')}"),
    Key(
        *("optimizer.b1", 0.9, rules.SHARE),
        f"decay of the mean of gradients (schedule_free: share of the average), {_for('b1')}",
    ),
    Key(
        "optimizer.b2",
        0.999,
        rules.SHARE,
        f"decay of the mean of squares (lion: of gradients), {_for('b2')}",
    ),
    Key("optimizer.decay", 0.9, rules.SHARE, f"decay of the mean of squares, {_for('decay')}"),
    Key(
        "optimizer.epsilon",
        1e-8,
        rules.POSITIVE,
        f"keeps the denominator above 0, {_for('epsilon')}",
    ),
    Key("optimizer.weight_decay", 0.0, at_least(0), "coefficient of weight decay"),
    Key("optimizer.sam_rho", 0.0, at_least(0), "radius of sharpness-aware minimisation; 0: none"),
    Key("optimizer.lr_mults", _ALL, rules.LR_MULTS, "learning-rate factors by path; 0 freezes"),
    Key(
        "optimizer.unfreeze",
        ((r".*", 0.0),),
        rules.START_EPOCHS,
        "epochs before a parameter is trained, by path",
    ),
    Key(
        "optimizer.layer_decay",
        1.0,
        rules.FRACTION,
        "learning-rate factor from each layer to the one before; 1: none",
    ),
    Key("optimizer.weight_decay_mults", _NOT_VECTORS, rules.MULTS, "weight-decay factors by path"),
    Key("schedule.name", "cosine", _SCHEDULES, "learning-rate schedule after the warm-up"),
    Key("schedule.warmup_epochs", 0.0, at_least(0), "length of the linear warm-up from 0"),
    Key("schedule.decay_rate", 0.98, rules.FRACTION, "exponential: factor per decay interval"),
    Key("schedule.decay_epochs", 1.0, rules.POSITIVE, "exponential: length of a decay interval"),
    Key(
        "schedule.cycle_epochs", 10.0, rules.POSITIVE, "cosine_restarts: length of the first cycle"
    ),
    Key(
        *("schedule.cycle_factor", 1.0, at_least(1)),
        "cosine_restarts: length of each cycle, divided by the length of the one before it",
    ),
    Key("schedule.pct_start", 0.3, rules.SHARE, "onecycle: share of the run in which it rises"),
    Key("schedule.div_factor", 25.0, at_least(1), "onecycle: peak rate divided by the first rate"),
    Key("schedule.plateau_factor", 0.1, rules.OPEN_SHARE, "plateau: factor of the learning rate"),
    Key(
        *("schedule.plateau_epochs", 10, at_least(1)),
        "plateau: epochs without a lower training loss before the learning rate falls",
    ),
    Key(
        *("schedule.final_factor", 0.0, rules.SHARE),
        "final rate (plateau: lowest rate) divided by the peak, also after a cool-down",
    ),
    Key("schedule.cooldown_epochs", 0.0, at_least(0), "length of the linear cool-down at the end"),
    Key("evaluation.every_epochs", 1, at_least(0), "epochs between evaluations; 0: only the last"),
    Key(
        "evaluation.batch_size",
        0,
        at_least(1),
        "images, or tokens including padding, over all devices",
    ),
    Key(
        "evaluation.train_examples", 320, at_least(1), "number of training examples to evaluate too"
    ),
    Key("checkpoint.every_steps", 0, at_least(0), "steps between checkpoints; 0: one epoch"),
    Key("checkpoint.keep", 2, at_least(1), "number of regular checkpoints to keep"),
    Key(
        "sharding.fsdp", 1, rules.DEVICES, "number of devices over which the parameters are sharded"
    ),
    Key(
        "sharding.parameters", ((r".*", "largest"),), rules.AXES, "axis to shard, by parameter path"
    ),
    Key(
        "sharding.min_size", 2**16, at_least(1), "'largest' shards no parameter with fewer elements"
    ),
    Key("sharding.describe", False, None, "print the sharding of every parameter"),
    Key(
        *("writers", ("jsonl", "tensorboard"), _WRITERS),
        "where a run logs its metrics; the last three need their extras",
    ),
    Key("profile", False, None, "trace ten steps into WORKDIR/profile"),
)


def conflicts(
    values: Mapping[str, Any], defaults: Mapping[str, Any], batch_rows: str, training: bool
) -> Iterator[tuple[str, str]]:
    """Yield keys whose values conflict with other keys, and the expected values.

    Each value must already satisfy its own rule. `batch_rows` names the key whose value
    `train.grad_accum_steps` must divide. Splits must be disjoint, and keys that the optimizer does
    not use must have their defaults, only if `training` is True.
    """
    if values[batch_rows] % values["train.grad_accum_steps"]:
        yield "train.grad_accum_steps", f"a divisor of {batch_rows} ({values[batch_rows]})"
    rows = values[batch_rows] // values["train.grad_accum_steps"]
    if rows % values["train.batch_norm_groups"]:
        yield (
            "train.batch_norm_groups",
            f"a divisor of {batch_rows} / train.grad_accum_steps ({rows})",
        )
    if values["schedule.warmup_epochs"] == 0 and values["schedule.name"] == "inverse_sqrt":
        yield (
            "schedule.warmup_epochs",
            "more than 0 for inverse_sqrt, which decays after the warm-up",
        )
    if values["schedule.warmup_epochs"] > 0 and values["schedule.name"] == "onecycle":
        yield (
            "schedule.warmup_epochs",
            "0 for onecycle, which has its own rise (schedule.pct_start)",
        )
    if values["train.swa_epochs"] and values["train.ema_decay"]:
        yield "train.swa_epochs", "0 with train.ema_decay: a run keeps one average of its weights"
    if values["train.patience"] and not values["evaluation.every_epochs"]:
        yield "train.patience", "0 with evaluation.every_epochs = 0: only the end is evaluated"
    name = values["optimizer.name"]
    if name in SCHEDULE_FREE:
        yield from _schedule_free_conflicts(values, defaults)
    averaged = values["train.swa_epochs"] or values["train.ema_decay"] or name in SCHEDULE_FREE
    if values["train.batch_norm_batches"] and not averaged:
        yield (
            "train.batch_norm_batches",
            "0 without train.ema_decay, train.swa_epochs or a schedule_free optimizer",
        )
    if values.get("train.freeze_batch_norm"):
        if values["train.batch_norm_batches"]:
            yield "train.batch_norm_batches", "0 with train.freeze_batch_norm"
        if values["train.batch_norm_groups"] > 1:
            yield "train.batch_norm_groups", "1 with train.freeze_batch_norm"
    for key in _unused_keys(name) if training else ():
        if values[key] != defaults[key]:
            yield key, f"{defaults[key]!r}, the default, because {name} does not use it"
    splits = [f"data.{name}_split" for name in ("train", "validation", "test")]
    for other, key in itertools.combinations(splits, 2) if training else ():
        given = values[other], values[key]
        if all(given) and rules.are_apart(*given) is False:
            yield key, f"a split that shares no examples with {other}, {values[other]!r}"


def _schedule_free_conflicts(
    values: Mapping[str, Any], defaults: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    name = values["optimizer.name"]
    if values["schedule.name"] != "constant":
        yield "schedule.name", f"'constant' for {name}, which needs no other schedule"
    if values["schedule.cooldown_epochs"]:
        yield "schedule.cooldown_epochs", f"0 for {name}, whose learning rate stays constant"
    for key in ("train.ema_decay", "train.swa_epochs"):
        if values[key]:
            yield key, f"0 for {name}, which keeps an average of its own"
    if values["optimizer.unfreeze"] != defaults["optimizer.unfreeze"]:
        yield (
            "optimizer.unfreeze",
            f"its default for {name}, whose average begins at the first step",
        )


def _unused_keys(optimizer: str) -> list[str]:
    """Return the keys that an optimizer does not use; those of a user's module are unknown."""
    some = dict.fromkeys(itertools.chain(*OPTIMIZER_KEYS.values()))
    used = OPTIMIZER_KEYS.get(optimizer, some)
    return [f"optimizer.{key}" for key in some if key not in used]


# Rules of network options, the further keys of `model`. The network determines its options.
OPTIONS = {
    "attention_dropout_rate": rules.SHARE,
    "drop_path_rate": rules.SHARE,
    "dropout_rate": rules.SHARE,
    "norm_epsilon": rules.POSITIVE,
    "num_classes": rules.FROM_DATA,
}

# Keys, and sections with a dot, that may change when a run continues, because no step of training
# depends on them.
FREE = (
    *("modules", "data.data_dir", "data.on_change", "data.num_threads", "train.log_every_steps"),
    *("train.patience", "evaluation.batch_size", "checkpoint.", "sharding.", "profile"),
    "writers",
)
# Keys that each machine of a job may set differently.
LOCAL = ("data.data_dir", "data.num_threads", "profile")
