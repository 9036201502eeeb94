"""ResNet-50 on ImageNet-1k, after "ResNet strikes back", for eight GPUs or TPU cores.

python train.py --config configs/imagenet_resnet50.py --workdir runs/resnet50_a3
python train.py --config configs/imagenet_resnet50.py:a2 --workdir runs/resnet50_a2

Nobody has run this configuration with netzoo. Wightman et al. (arXiv:2110.00476) report a top-1
accuracy on the validation images of 78.1 % for A3 (100 epochs at 160 pixels, tested at 224) and of
79.8 % for A2 (300 epochs at 224 pixels). The tests only trace a step for an accelerator.

From the paper: LAMB with batches of 2048, a cosine after 5 epochs of warm-up, binary cross-entropy
with mixup 0.1 and CutMix 1.0, two RandAugment operations, a test crop of 95 %; in A2 also three
copies of each image in a batch (repeated augmentation) and stochastic depth. timm sets targets
above 0.2 to 1 and clips gradients at a norm of 1.

What netzoo does otherwise: the magnitude of RandAugment has no noise (theirs has a standard
deviation of 0.5), and 1 % of the training images validate.
"""

from ml_collections import ConfigDict
from netzoo.configs._imagenet import imagenet


def get_config(recipe: str = "a3") -> ConfigDict:
    """Return the configuration of the recipe "a3" or "a2"."""
    if recipe not in ("a2", "a3"):
        raise ValueError(f"recipe {recipe!r}; expected a2 or a3")
    config = imagenet()
    config.model.update(name="resnet50", zero_init_last_norm=True)
    config.augment.randaugment_layers = 2
    config.augment.mixup = 0.1
    config.augment.cutmix = 1.0

    config.train.batch_size = 2048
    config.train.loss = "binary_cross_entropy"
    config.train.bce_threshold = 0.2
    config.train.clip_norm = 1.0

    config.optimizer.name = "lamb"
    config.optimizer.epsilon = 1e-6
    config.optimizer.weight_decay = 0.02
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 5.0
    config.evaluation.crop_pct = 0.95

    if recipe == "a3":
        config.train.epochs = 100
        config.train.image_sizes = ((0, 160),)
        config.augment.randaugment_magnitude = 6.0
        config.optimizer.learning_rate = 8e-3
    else:
        config.train.epochs = 300
        config.model.drop_path_rate = 0.05
        config.augment.randaugment_magnitude = 7.0
        config.augment.repeats = 3
        config.optimizer.learning_rate = 5e-3
    return config
