"""The common recipe for training from scratch on tf_flowers."""

from ml_collections import ConfigDict

from netzoo.config import default_config


def from_scratch() -> ConfigDict:
    """Return the recipe of `configs/mobilenet_v2.py`, chosen on held-out training images.

    tf_flowers has one split, `train`. A run trains on 72 % of it, validates on 8 % and is tested on
    the last 20 %: `train[:72%]`, `train[72%:80%]` and `train[80%:]`. The runs recorded in results/
    had no validation split: they trained on all of `train[:80%]` (results/README.md).
    """
    config = default_config()
    config.data.source = "tfds:tf_flowers"
    config.data.image_size = 128
    config.data.cache = "decoded"

    config.augment.crop_scale = (0.25, 1.0)
    config.augment.randaugment_layers = 2
    config.augment.randaugment_magnitude = 3.0
    config.augment.mixup = 0.2

    config.train.epochs = 60
    config.train.batch_size = 32
    config.train.label_smoothing = 0.1
    config.train.ema_decay = 0.999

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.weight_decay = 0.05
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 5.0

    config.evaluation.every_epochs = 5
    return config
