"""MobileNetV2 from ImageNet weights on the real flowers, all of it or only its classifier.

python train.py --config configs/mobilenet_v2_finetune.py --workdir runs/finetune
python train.py --config configs/mobilenet_v2_finetune.py:head --workdir runs/finetune_head

The weights are torchvision's. Where they cannot be downloaded, the error says where to put the
file.
"""

from ml_collections import ConfigDict

from netzoo.config import default_config


def get_config(trained: str = "all") -> ConfigDict:
    """Returns the configuration; `trained` is `"all"` or `"head"`."""
    config = default_config()
    config.model.name = "mobilenet_v2"
    config.init.weights = "mobilenet_v2.tv_in1k"
    config.data.source = "tfds:tf_flowers"
    config.data.train_split = "train[:80%]"
    config.data.test_split = "train[80%:]"
    config.data.image_size = 160
    config.data.cache = "decoded"
    config.augment.crop_scale = (0.25, 1.0)
    config.train.epochs = 10
    config.train.label_smoothing = 0.1
    config.train.ema_decay = 0.99
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 0.05
    config.schedule.warmup_epochs = 1.0
    if trained == "head":
        config.optimizer.learning_rate_factors = ((r"logits/.*", 1.0), (r".*", 0.0))
        config.train.batch_statistics = False
    elif trained == "all":
        # The classifier starts from nothing, the rest is nearly right.
        config.optimizer.learning_rate_factors = ((r"logits/.*", 1.0), (r".*", 0.3))
    else:
        raise ValueError(f"{trained!r} cannot be trained; expected all or head")
    return config
