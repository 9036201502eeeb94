"""Every key of a configuration with its default, for all tasks and for each."""

from typing import Any

from ml_collections import ConfigDict, config_dict

from netzoo.errors import unknown_name


def default_config(task: str = "image_classification") -> ConfigDict:
    """Returns the defaults of a task, which train on its embedded data set.

    Raises:
      UserError: The task is unknown.
    """
    if task not in _TASKS:
        raise unknown_name("task", task, _TASKS)
    c = _common()
    c.task = task
    _TASKS[task](c)
    return c.lock()


def flatten(config: ConfigDict) -> dict[str, Any]:
    """Returns the values by their keys, such as `train.epochs`."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            flat.update({f"{key}.{inner}": v for inner, v in flatten(value).items()})
        else:
            flat[key] = value
    return flat


def _common() -> ConfigDict:
    c = ConfigDict()
    c.seed = 0  # initial parameters, order of the examples, augmentation, dropout, mixup

    c.model = ConfigDict()  # besides these two, any option of the network
    c.model.name = ""
    c.model.dtype = "float32"  # or "bfloat16"; parameters and statistics are always float32

    c.init = ConfigDict()
    c.init.weights = config_dict.placeholder(str)  # file, run, or name such as "resnet50.tv_in1k"

    c.data = ConfigDict()
    c.data.source = ""
    c.data.data_dir = config_dict.placeholder(str)  # of TFDS; None: ~/tensorflow_datasets
    c.data.train_split = "train"
    c.data.validation_split = config_dict.placeholder(str)  # choices are made on this, if any
    c.data.test_split = "test"  # only looked at; "" for none
    c.data.num_threads = 2  # that make batches

    c.train = ConfigDict()
    c.train.epochs = 10
    c.train.batch_size = 0  # over all devices
    c.train.grad_accum_steps = 1  # parts that a batch is split into, one after the other
    c.train.label_smoothing = 0.0
    c.train.clip_norm = config_dict.placeholder(float)  # largest global norm of the gradient
    c.train.ema_decay = 0.0  # of the average of parameters and statistics, 0 for none
    c.train.on_nonfinite = "stop"  # or "skip": a step whose loss, gradient or update is not finite
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
    c.optimizer.lr_mults = ((r".*", 1.0),)
    # Factors on the weight decay, likewise.
    c.optimizer.weight_decay_mults = ((r".*/(bias|scale)", 0.0), (r".*", 1.0))

    c.schedule = ConfigDict()
    c.schedule.name = "cosine"  # or "exponential", "inverse_sqrt", "constant"
    c.schedule.warmup_epochs = 0.0  # linear from 0
    c.schedule.decay_rate = 0.98  # exponential: factor at every stair
    c.schedule.decay_epochs = 1.0  # exponential: length of a stair

    c.evaluation = ConfigDict()
    c.evaluation.every_epochs = 1  # and always at the end
    c.evaluation.batch_size = 0
    c.evaluation.train_examples = 320  # of the training split, to see overfitting

    c.checkpoint = ConfigDict()
    c.checkpoint.every_steps = 0  # 0: at the end of every epoch
    c.checkpoint.keep = 2  # the newest, besides the best

    c.sharding = ConfigDict()  # see docs/scaling.md; decides nothing that is computed
    c.sharding.fsdp = 1  # devices that share the parameters, -1 for all
    # Which axis of a parameter they divide, by its path, first match wins; None for none.
    c.sharding.parameters = ((r".*", "largest"),)
    c.sharding.min_size = 2**16  # numbers of a parameter from which on "largest" divides it
    c.sharding.describe = False  # print where every parameter lies

    c.profile = False  # trace steps 10 to 20 of this process into WORKDIR/profile
    return c


def _image_classification(c: ConfigDict) -> None:
    c.model.name = "mobilenet_v2"

    c.data.source = "synthetic_flowers"  # or "tfds:NAME", "folder:PATH"
    c.data.image_size = 96  # pixels, both sides
    c.data.cache = "none"  # in memory: "encoded" files or "decoded" pixels
    c.data.on_corrupt = "stop"  # or "skip": go on without images that cannot be read
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

    c.train.batch_size = 32  # images
    # BatchNorm uses its running statistics in training too and leaves them, and nothing is dropped;
    # for a network whose body is frozen.
    c.train.freeze_batch_norm = False

    c.evaluation.batch_size = 32  # images
    c.evaluation.crop_pct = 0.875  # side of the central crop over the shorter side
    c.evaluation.top_k = 3


def _translation(c: ConfigDict) -> None:
    c.model.name = "transformer_tiny"

    # Or "parallel:FOLDER.{en,de}", "tfds:NAME.{en,de}", from the first language to the second.
    c.data.source = "number_words"
    c.data.vocabulary = config_dict.placeholder(str)  # a file; None: learnt from the training text
    c.data.vocabulary_size = 4000  # subwords, of both languages
    # Tokens that sentences are padded to, the end included. Training leaves out what is longer.
    c.data.lengths = (16, 32, 64)
    # Rows of every batch are a multiple of this, and this one of devices * train.grad_accum_steps.
    c.data.row_multiple = 8

    c.train.batch_size = 4096  # tokens of a language, padding included
    c.train.label_smoothing = 0.1
    c.optimizer.b2 = 0.98
    c.optimizer.epsilon = 1e-9
    c.schedule.name = "inverse_sqrt"
    c.schedule.warmup_epochs = 1.0

    c.evaluation.batch_size = 4096  # tokens of a language, padding included
    c.evaluation.beam_size = 4
    c.evaluation.length_penalty = 0.6  # the exponent alpha of Wu et al., arXiv:1609.08144
    c.evaluation.extra_length = 50  # tokens that a translation may have more than its source


_TASKS = {"image_classification": _image_classification, "translation": _translation}
