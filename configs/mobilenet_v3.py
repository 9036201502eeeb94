"""MobileNetV3-Large from scratch on the real flowers.

python train.py --config configs/mobilenet_v3.py --workdir runs/mobilenet_v3
python eval.py --workdir runs/mobilenet_v3

The recipe of `configs/mobilenet_v2.py`, chosen there on held-out training images. For V3-Small:
`--config.model.name=mobilenet_v3_small`.
"""

from ml_collections import ConfigDict

from netzoo.config import default_config


def get_config() -> ConfigDict:
    """Returns the configuration."""
    config = default_config()
    with config.unlocked():
        config.model.update(name="mobilenet_v3_large", width_multiplier=1.0, dropout_rate=0.2)

    config.data.source = "tfds:tf_flowers"
    config.data.train_split = "train[:80%]"
    config.data.test_split = "train[80%:]"
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
