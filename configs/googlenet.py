"""GoogLeNet with BatchNorm, from scratch on the real flowers.

    python train.py --config configs/googlenet.py --workdir runs/googlenet
    python eval.py --workdir runs/googlenet

Network, dropout and auxiliary classifiers of Szegedy et al. (arXiv:1409.4842); optimiser, schedule
and augmentation are those of configs/mobilenet_v2.py.
"""

from ml_collections import ConfigDict

from netzoo.config import default_config


def get_config() -> ConfigDict:
    """Returns the configuration."""
    config = default_config()
    with config.unlocked():
        config.model.update(name="googlenet_bn", dropout_rate=0.4, auxiliary_weight=0.3)

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
