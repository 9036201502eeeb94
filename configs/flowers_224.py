"""ResNet-50 from scratch on tf_flowers at 224 pixels, for one GPU or TPU core.

python train.py --config configs/flowers_224.py --workdir runs/flowers_224

Nobody has run this configuration. On another data set, Oxford Flowers 102, a published result from
scratch is 97.2 % of 818 images (Hassani et al., arXiv:2104.05704, CCT-7/7x2 at 224 pixels, 300
epochs, their file cct_7-7x2_flowers102.yml). The augmentation here is theirs: mixup 0.8 and CutMix
1.0, random erasing of a quarter of the images, two RandAugment operations of magnitude 9, label
smoothing. The training images, decoded, take 1.2 GB of the host's memory. The tests only trace a
step for an accelerator.

Optimizer and average are those of configs/mobilenet_v2.py. Learning rate and warm-up are guesses
for batches of 128: try several learning rates on folds (`data.fold`) before a long run.
"""

from ml_collections import ConfigDict
from netzoo.configs._flowers import from_scratch


def get_config() -> ConfigDict:
    """Return the configuration."""
    config = from_scratch()
    config.model.update(name="resnet50", zero_init_last_norm=True, drop_path_rate=0.1)
    config.model.dtype = "bfloat16"
    config.data.image_size = 224
    config.data.num_threads = 16
    config.augment.randaugment_magnitude = 9.0
    config.augment.mixup = 0.8
    config.augment.cutmix = 1.0
    config.augment.erasing_prob = 0.25

    config.train.epochs = 300
    config.train.batch_size = 128
    config.optimizer.learning_rate = 1e-3
    config.schedule.warmup_epochs = 10.0
    config.evaluation.batch_size = 128
    config.evaluation.every_epochs = 10
    return config
