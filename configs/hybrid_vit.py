"""R+ViT-Ti/16, a Transformer on the stem of a ResNet, from scratch on the real flowers.

python train.py --config configs/hybrid_vit.py --workdir runs/hybrid_vit
python eval.py --workdir runs/hybrid_vit

At 128 pixels an image is 4 * 4 tokens. The recipe is that of `configs/vit.py`.
"""

from ml_collections import ConfigDict

from netzoo.config import default_config


def get_config() -> ConfigDict:
    """Returns the configuration."""
    config = default_config()
    with config.unlocked():
        config.model.update(name="r_ti16", dropout_rate=0.0, stochastic_depth_rate=0.1)

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
    config.train.clip_norm = 1.0
    config.train.ema_decay = 0.999

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 5e-4
    config.optimizer.weight_decay = 0.1
    config.optimizer.weight_decay_factors = ((r".*/kernel", 1.0), (r".*", 0.0))
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 5.0

    config.evaluation.every_epochs = 5
    return config
