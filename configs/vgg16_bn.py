"""VGG16 with BatchNorm from scratch on tf_flowers at 64 pixels.

    python train.py --config configs/vgg16_bn.py --workdir runs/vgg16_bn
    python eval.py --workdir runs/vgg16_bn

Optimiser, momentum, weight decay and dropout are those of the paper (Simonyan and Zisserman,
arXiv:1409.1556, section 3.1); the learning rate follows a cosine instead of manual steps. An image
takes 1.3 G multiply-adds at 64 pixels, and 15.5 G at 224. The hidden layers are 512 wide: at 4096
they would hold 120 of 134 M parameters, and most of these would act on repeated values, because the
last feature map is 2x2 at 64 pixels and is repeated to 7x7.

The run recorded in results/vgg16_bn took 5 min on two CPU cores (AMD EPYC), with seed 0,
`--config.data.image_size=48`, `--config.train.epochs=3` and `--config.schedule.warmup_epochs=1.0`.
Its final averaged weights classify 62.3 % of the 734 test images correctly (95 % interval 58.7 to
65.7). It trained on `train[:80%]` without a validation split (configs/_flowers.py).
"""

from ml_collections import ConfigDict
from netzoo.configs._flowers import from_scratch


def get_config() -> ConfigDict:
    """Return the configuration."""
    config = from_scratch()
    config.model.update(name="vgg16_bn", hidden_features=512, dropout_rate=0.5)
    config.data.image_size = 64
    # The paper's augmentation is crops and flips.
    config.augment.randaugment_layers = 0
    config.augment.mixup = 0.0
    config.train.label_smoothing = 0.0
    config.train.epochs = 30
    config.train.ema_decay = 0.99
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.01
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 5e-4
    config.schedule.warmup_epochs = 2.0
    return config
