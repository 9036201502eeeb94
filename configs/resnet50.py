"""ResNet-50 from scratch on the real flowers.

python train.py --config configs/resnet50.py --workdir runs/resnet50
python eval.py --workdir runs/resnet50

The zero-initialised branches and the linear warm-up are those of Goyal et al. (arXiv:1706.02677);
the augmentation is that of configs/mobilenet_v2.py.
"""

from ml_collections import ConfigDict

from netzoo.config import default_config


def get_config() -> ConfigDict:
    """Returns the configuration."""
    config = default_config()
    with config.unlocked():
        config.model.update(name="resnet50", zero_init_last_norm=True)

    config.data.source = "tfds:tf_flowers"
    config.data.train_split = "train[:80%]"
    config.data.test_split = "train[80%:]"
    config.data.image_size = 96
    config.data.cache = "decoded"

    config.augment.crop_scale = (0.25, 1.0)
    config.augment.randaugment_layers = 2
    config.augment.randaugment_magnitude = 3.0
    config.augment.mixup = 0.2

    config.train.epochs = 60
    config.train.label_smoothing = 0.1
    config.train.ema_decay = 0.999

    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 0.05
    config.schedule.warmup_epochs = 5.0

    config.evaluation.every_epochs = 5
    return config
