"""MobileNetV3-Large on ImageNet-1k, after torchvision's recipe, for eight GPUs or TPU cores.

python train.py --config configs/imagenet_mobilenet_v3.py --workdir runs/mobilenet_v3_imagenet

Nobody has run this configuration with netzoo. torchvision's weights IMAGENET1K_V1, the mean of
three checkpoints of this recipe, classify 74.042 % of the validation images correctly, as the
torchvision page of `mobilenet_v3_large` says. The tests only trace a step for an accelerator.

From torchvision's references/classification (`mobilenet_v3_large`): RMSProp with a momentum of 0.9,
an epsilon of 0.0316 and a weight decay of 1e-5 in the gradient, batches of 1024, a learning rate of
0.064 that is multiplied by 0.973 every two epochs, AutoAugment with the policy of ImageNet, and
random erasing of a fifth of the images. For V3-Small, use --config.model.name=mobilenet_v3_small.

What netzoo does otherwise: biases and norms have no weight decay, 1 % of the training images
validate, and the last weights are evaluated (theirs: the mean of the last three checkpoints that
improved the accuracy).
"""

from ml_collections import ConfigDict
from netzoo.configs._imagenet import imagenet


def get_config() -> ConfigDict:
    """Return the configuration."""
    config = imagenet()
    config.model.update(name="mobilenet_v3_large", dropout_rate=0.2)
    config.augment.policy = "autoaugment"
    config.augment.erasing_prob = 0.2
    config.augment.erasing_fill = "mean"

    config.train.epochs = 600
    config.train.batch_size = 1024

    config.optimizer.name = "rmsprop"
    config.optimizer.learning_rate = 0.064
    config.optimizer.decay = 0.9
    config.optimizer.epsilon = 0.0316
    config.optimizer.weight_decay = 1e-5
    config.schedule.name = "exponential"
    config.schedule.decay_rate = 0.973
    config.schedule.decay_epochs = 2.0
    return config
