"""The keys that every task has: name, default, rule and meaning of each."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from netzoo.config import rules
from netzoo.config.rules import Rule, at_least, one_of


class Key(NamedTuple):
    """A key of the configuration."""

    name: str  # section and name, such as "train.epochs"
    default: Any  # or a type, for a key that may be None and is None by default
    rule: Rule | None  # what a value has to be besides its type; None where the type says all
    meaning: str  # one line for --help and docs/configs.md

    @property
    def optional(self) -> bool:
        """Whether the key may be None."""
        return isinstance(self.default, type)

    @property
    def type(self) -> type:
        """The type of its values."""
        return self.default if self.optional else type(self.default)


_SCHEDULES = one_of("cosine", "exponential", "inverse_sqrt", "constant")
_OPTIMIZERS = Rule(rules.NAME.holds, "adamw, sgd, rmsprop or one that a module adds")
# Factors by the path of a parameter.
_ALL = ((r".*", 1.0),)
_NOT_VECTORS = ((r".*/(bias|scale)", 0.0), *_ALL)

# A task sets the keys that are empty or 0 here and must not be; see its `DEFAULTS`.
KEYS = (
    Key("seed", 0, rules.SEED, "initial parameters, order of examples, augmentation, dropout"),
    Key(
        "modules", (), rules.MODULES, "your modules that add networks, optimizers or augmentations"
    ),
    Key("model.name", "", rules.NAME, "network; its options stand beside the name"),
    Key("model.dtype", "float32", one_of("float32", "bfloat16"), "type of activations"),
    Key("init.weights", str, rules.NAME, "weights to start from: a file, a run or a name"),
    Key("data.source", "", rules.NAME, "where the examples come from"),
    Key("data.data_dir", str, rules.NAME, "folder of TFDS; None: ~/tensorflow_datasets"),
    Key("data.train_split", str, rules.NAME, "examples to train on; None: see docs/data.md"),
    Key("data.validation_split", str, rules.NAME, "examples to watch, and to choose the best on"),
    Key("data.test_split", str, rules.NAME, "examples of the final evaluation, not of training"),
    Key("data.num_threads", 2, at_least(1), "threads that prepare batches"),
    Key("train.epochs", 10, at_least(1), "passes over the training split"),
    Key("train.batch_size", 0, at_least(1), "images, or padded tokens, over all devices"),
    Key("train.grad_accum_steps", 1, at_least(1), "parts of a batch, computed one by one"),
    Key("train.label_smoothing", 0.0, rules.SHARE, "part of the target that all classes share"),
    Key("train.clip_norm", float, rules.POSITIVE, "largest global norm of the gradient"),
    Key("train.ema_decay", 0.0, rules.SHARE, "decay of the averaged weights; 0: no average"),
    Key("train.on_nonfinite", "stop", one_of("stop", "skip"), "what to do at a non-finite step"),
    Key("train.remat", False, None, "compute blocks twice: less memory, longer steps"),
    Key("train.log_every_steps", 10, at_least(1), "steps between two lines of metrics"),
    Key("optimizer.name", "adamw", _OPTIMIZERS, "update rule"),
    Key("optimizer.learning_rate", 1e-3, rules.POSITIVE, "peak of the learning rate"),
    Key("optimizer.momentum", 0.9, rules.SHARE, "momentum of sgd and rmsprop"),
    Key("optimizer.nesterov", False, None, "Nesterov's momentum, for sgd"),
    Key("optimizer.b1", 0.9, rules.SHARE, "adamw: decay of the mean of gradients"),
    Key("optimizer.b2", 0.999, rules.SHARE, "adamw: decay of the mean of squared gradients"),
    Key("optimizer.decay", 0.9, rules.SHARE, "rmsprop: decay of the mean of squared gradients"),
    Key("optimizer.epsilon", 1e-8, rules.POSITIVE, "adamw, rmsprop: added to the denominator"),
    Key("optimizer.weight_decay", 0.0, at_least(0), "coefficient of the weight decay"),
    Key("optimizer.lr_mults", _ALL, rules.LR_MULTS, "learning-rate factors by path; 0 freezes"),
    Key("optimizer.weight_decay_mults", _NOT_VECTORS, rules.MULTS, "weight-decay factors by path"),
    Key("schedule.name", "cosine", _SCHEDULES, "course of the learning rate after the warm-up"),
    Key("schedule.warmup_epochs", 0.0, at_least(0), "length of the linear warm-up from 0"),
    Key("schedule.decay_rate", 0.98, rules.FRACTION, "exponential: factor at every stair"),
    Key("schedule.decay_epochs", 1.0, rules.POSITIVE, "exponential: length of a stair"),
    Key("evaluation.every_epochs", 1, at_least(0), "epochs between evaluations; 0: only the last"),
    Key("evaluation.batch_size", 0, at_least(1), "images, or padded tokens, over all devices"),
    Key("evaluation.train_examples", 320, at_least(1), "training examples to evaluate as well"),
    Key("checkpoint.every_steps", 0, at_least(0), "steps between checkpoints; 0: an epoch"),
    Key("checkpoint.keep", 2, at_least(1), "newest checkpoints to keep, besides the best"),
    Key("sharding.fsdp", 1, rules.DEVICES, "devices that share the parameters"),
    Key("sharding.parameters", ((r".*", "largest"),), rules.AXES, "axis to divide, by the path"),
    Key("sharding.min_size", 2**16, at_least(1), "smallest parameter that 'largest' divides"),
    Key("sharding.describe", False, None, "print where every parameter lies"),
    Key("profile", False, None, "trace steps 10 to 20 into WORKDIR/profile"),
)


def conflicts(values: Mapping[str, Any], divided: str, training: bool) -> Iterator[tuple[str, str]]:
    """Yields every key whose value does not fit another key's, and what was expected.

    Each value is right by its own rule. `train.grad_accum_steps` must divide the value of the key
    `divided`. Only `training` needs splits that are apart.
    """
    if values[divided] % values["train.grad_accum_steps"]:
        yield "train.grad_accum_steps", f"a divisor of {divided} ({values[divided]})"
    if values["schedule.warmup_epochs"] == 0 and values["schedule.name"] == "inverse_sqrt":
        yield "schedule.warmup_epochs", "more than 0 for inverse_sqrt, which falls from there on"
    if values["optimizer.nesterov"] and values["optimizer.name"] != "sgd":
        yield "optimizer.nesterov", f"False for {values['optimizer.name']!r}: only sgd has it"
    splits = [f"data.{name}_split" for name in ("train", "validation", "test")]
    for other, key in itertools.combinations(splits, 2) if training else ():
        if values[key] and values[other] and not rules.are_apart(values[key], values[other]):
            yield key, f"no examples of {other}, {values[other]!r}"


# Options of networks, which stand under `model`. The network says which of them it has.
OPTIONS = {
    "dropout_rate": rules.SHARE,
    "norm_epsilon": rules.POSITIVE,
    "num_classes": rules.FORBIDDEN,
}

# Prefixes of keys that may change when a run is continued: no result depends on them.
FREE = ("modules", "data.data_dir", "data.num_threads", "checkpoint.", "sharding.", "profile")
