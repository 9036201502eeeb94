"""ViT-S/16 on ImageNet-1k, after "Better plain ViT baselines", for a TPU v3-8 or eight GPUs.

python train.py --config configs/imagenet_vit_s16.py --workdir runs/vit_s16

Nobody has run this configuration with netzoo. The authors' configuration (google-research/
big_vision, configs/vit_s16_i1k.py; Beyer et al., arXiv:2205.01580) reaches 76.5 % after 90 epochs,
in 6 to 7 hours on a TPU v3-8, as its docstring says. The tests only trace a step for an
accelerator.

From their configuration: Adam with batches of 1024, a learning rate of 1e-3 that rises for 10,000
steps and falls along a cosine, gradients clipped at a norm of 1, mixup 0.2, two RandAugment
operations of magnitude 10, the average over all patches instead of a class token. Their weight
decay of 1e-4 is not multiplied by the learning rate. netzoo's is, so it is 1e-4 / 1e-3 here.

What netzoo does otherwise: it learns the position embedding (theirs is a fixed sine and cosine in
two dimensions), has no hidden layer before the classifier, crops at least 8 % of an image (theirs:
5 %), and keeps Adam's momentum in float32.
"""

from ml_collections import ConfigDict
from netzoo.configs._imagenet import imagenet


def get_config() -> ConfigDict:
    """Return the configuration."""
    config = imagenet()
    config.model.update(name="vit_s16", pool="gap", dropout_rate=0.0)
    config.data.mean = config.data.std = (127.5, 127.5, 127.5)
    config.augment.randaugment_layers = 2
    config.augment.randaugment_magnitude = 10.0
    config.augment.mixup = 0.2

    config.train.epochs = 90
    config.train.batch_size = 1024
    config.train.clip_norm = 1.0

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 0.1
    config.optimizer.weight_decay_mults = ((r".*/kernel", 1.0), (r".*", 0.0))
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 8.1
    return config
