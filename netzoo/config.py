"""Every key of a configuration with its default, and the checks made before anything starts.

A file in `configs/` starts from `default_config()` and sets what is special about its experiment.
The dictionary is locked: a misspelt key is an error that names the nearest right one.
"""

import json
from pathlib import Path

from ml_collections import ConfigDict, config_dict

from netzoo.errors import UserError

CONFIG_FILE = "config.json"

# What may differ between a run and its continuation: where things lie and how often one looks,
# never what is computed.
FREE_TO_CHANGE = ("data.data_dir", "data.cache", "data.num_threads", "checkpoint.", "profile")


def default_config() -> ConfigDict:
    """Returns the defaults: MobileNetV2 on the embedded data set."""
    c = ConfigDict()
    c.seed = 0  # initial parameters, order of the examples, augmentation, dropout, mixup
    c.task = "image_classification"

    c.model = ConfigDict()  # besides these two, any option of the network
    c.model.name = "mobilenet_v2"
    c.model.dtype = "float32"  # or "bfloat16"; parameters and statistics are always float32

    c.init = ConfigDict()
    c.init.weights = config_dict.placeholder(str)  # file, run, or name such as "resnet50.tv_in1k"

    c.data = ConfigDict()
    c.data.source = "synthetic_flowers"  # or "tfds:NAME", "folder:PATH"
    c.data.data_dir = config_dict.placeholder(str)  # of TFDS; None: ~/tensorflow_datasets
    c.data.train_split = "train"
    c.data.validation_split = config_dict.placeholder(str)  # choices are made on this, if any
    c.data.test_split = "test"  # only looked at
    c.data.image_size = 96  # pixels, both sides
    c.data.cache = "none"  # in memory: "encoded" files or "decoded" pixels
    c.data.num_threads = 2  # that decode and augment
    c.data.skip_corrupt = False  # leave out files of a folder that are no images
    # Of red, green and blue, on the scale 0 to 255. None: those that named init.weights were
    # trained with, else 127.5.
    c.data.mean = config_dict.placeholder(tuple)
    c.data.std = config_dict.placeholder(tuple)

    c.augment = ConfigDict()  # of training images
    c.augment.crop_scale = (0.25, 1.0)  # area of a random crop over area of the image
    c.augment.crop_ratio = (3 / 4, 4 / 3)  # width over height
    c.augment.flip = True  # left to right, half of the time
    c.augment.randaugment_layers = 0  # operations an image, 0 for none
    c.augment.randaugment_magnitude = 9.0  # 0 to 10
    c.augment.mixup = 0.0  # alpha of the Beta distribution, 0 for none

    c.train = ConfigDict()
    c.train.epochs = 10
    c.train.batch_size = 32  # over all devices
    c.train.accumulate_steps = 1  # parts that a batch is split into, one after the other
    c.train.label_smoothing = 0.0
    c.train.clip_norm = config_dict.placeholder(float)  # largest global norm of the gradient
    c.train.ema_decay = 0.0  # of the average of parameters and statistics, 0 for none
    # False: BatchNorm uses its running statistics in training too, and leaves them, and nothing is
    # dropped; for a network whose body is frozen.
    c.train.batch_statistics = True
    c.train.remat = False  # compute the network's blocks twice: less memory, longer steps
    c.train.log_every_steps = 10

    c.optimizer = ConfigDict()
    c.optimizer.name = "adamw"  # or "sgd", "rmsprop"
    c.optimizer.learning_rate = 1e-3  # the peak
    c.optimizer.momentum = 0.9  # sgd and rmsprop
    c.optimizer.nesterov = False  # sgd
    c.optimizer.b1 = 0.9  # adamw
    c.optimizer.b2 = 0.999  # adamw
    c.optimizer.decay = 0.9  # rmsprop: of the mean of squares
    c.optimizer.epsilon = 1e-8  # adamw, rmsprop
    c.optimizer.weight_decay = 0.0
    # Factors on the learning rate by parameter path, first match wins; 0 freezes.
    c.optimizer.learning_rate_factors = ((r".*", 1.0),)
    # Factors on the weight decay, likewise.
    c.optimizer.weight_decay_factors = ((r".*/(bias|scale)", 0.0), (r".*", 1.0))

    c.schedule = ConfigDict()
    c.schedule.name = "cosine"  # or "exponential", "constant"
    c.schedule.warmup_epochs = 0.0  # linear from 0
    c.schedule.decay_rate = 0.98  # exponential: factor at every stair
    c.schedule.decay_epochs = 1.0  # exponential: length of a stair

    c.evaluation = ConfigDict()
    c.evaluation.every_epochs = 1  # and always at the end
    c.evaluation.batch_size = 32
    c.evaluation.crop_fraction = 0.875  # side of the central crop over the shorter side
    c.evaluation.train_examples = 320  # of the training split, to see overfitting
    c.evaluation.top_k = 3

    c.checkpoint = ConfigDict()
    c.checkpoint.every_steps = 0  # 0: at the end of every epoch
    c.checkpoint.keep = 2  # besides the best

    c.profile = False  # trace steps 10 to 20 of this process into WORKDIR/profile
    return c.lock()


def validate(config: ConfigDict) -> None:
    """Checks ranges and combinations that need neither data nor devices.

    Raises:
      UserError: With every fault found, one a line.
    """
    train, data, augment = config.train, config.data, config.augment
    low, high = augment.crop_scale
    rules = [
        (train.epochs >= 1, "train.epochs", train.epochs, "at least 1"),
        (train.batch_size >= 1, "train.batch_size", train.batch_size, "at least 1"),
        (
            train.accumulate_steps >= 1 and train.batch_size % max(train.accumulate_steps, 1) == 0,
            "train.accumulate_steps",
            train.accumulate_steps,
            f"a divisor of train.batch_size ({train.batch_size})",
        ),
        (
            0 <= train.label_smoothing < 1,
            "train.label_smoothing",
            train.label_smoothing,
            "in [0, 1)",
        ),
        (0 <= train.ema_decay < 1, "train.ema_decay", train.ema_decay, "in [0, 1)"),
        (train.log_every_steps >= 1, "train.log_every_steps", train.log_every_steps, "at least 1"),
        (data.image_size >= 1, "data.image_size", data.image_size, "at least 1"),
        (
            data.cache in ("none", "encoded", "decoded"),
            "data.cache",
            data.cache,
            "none, encoded or decoded",
        ),
        (0 < low <= high <= 1, "augment.crop_scale", (low, high), "0 < low <= high <= 1"),
        (
            0 <= augment.randaugment_magnitude <= 10,
            "augment.randaugment_magnitude",
            augment.randaugment_magnitude,
            "0 to 10",
        ),
        (augment.mixup >= 0, "augment.mixup", augment.mixup, "at least 0"),
        (
            config.model.dtype in ("float32", "bfloat16"),
            "model.dtype",
            config.model.dtype,
            "float32 or bfloat16",
        ),
        (
            config.evaluation.batch_size >= 1,
            "evaluation.batch_size",
            config.evaluation.batch_size,
            "at least 1",
        ),
        (
            0 < config.evaluation.crop_fraction <= 1,
            "evaluation.crop_fraction",
            config.evaluation.crop_fraction,
            "in (0, 1]",
        ),
        (config.checkpoint.keep >= 1, "checkpoint.keep", config.checkpoint.keep, "at least 1"),
        (
            config.schedule.warmup_epochs < train.epochs,
            "schedule.warmup_epochs",
            config.schedule.warmup_epochs,
            f"less than train.epochs ({train.epochs})",
        ),
    ]
    faults = [f"{key} is {found}; expected {wanted}" for ok, key, found, wanted in rules if not ok]
    if faults:
        raise UserError("\n".join(faults))


def save_config(config: ConfigDict, workdir: Path) -> None:
    """Writes the resolved configuration into the run folder."""
    (workdir / CONFIG_FILE).write_text(json.dumps(config.to_dict(), indent=2) + "\n")


def load_config(workdir: Path) -> ConfigDict:
    """Reads the configuration of a run.

    Raises:
      UserError: `workdir` holds no run.
    """
    path = Path(workdir) / CONFIG_FILE
    if not path.is_file():
        raise UserError(
            f"{workdir} holds no run: {path} does not exist. Give the --workdir that train.py had."
        )
    config = default_config()
    with config.unlocked():
        config.update(_tuples(json.loads(path.read_text())))
    return config


def check_same_run(config: ConfigDict, workdir: Path) -> None:
    """Refuses to continue a run under a configuration that would compute something else.

    Raises:
      UserError: The differing keys with both values.
    """
    old, new = _flat(load_config(workdir)), _flat(config)
    differing = [
        f"  {key}: the run has {old.get(key)!r}, now {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not key.startswith(FREE_TO_CHANGE)
    ]
    if differing:
        raise UserError(
            f"{workdir} holds a run of another configuration:\n"
            + "\n".join(differing)
            + "\nContinue it with its own values, or give a new --workdir."
        )


def _flat(config: ConfigDict) -> dict[str, object]:
    flat = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            flat.update({f"{key}.{inner}": v for inner, v in _flat(value).items()})
        else:
            flat[key] = value
    return flat


def _tuples(value):
    """JSON has lists where the configuration has tuples."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
