"""What the configurations for ImageNet-1k on accelerators have in common."""

from ml_collections import ConfigDict

from netzoo.config import default_config


def imagenet() -> ConfigDict:
    """Return a configuration with the data at 224 pixels, bfloat16, and crops of 8 % to 100 %.

    TFDS needs the archives of the ILSVRC2012 images, which you download yourself. A run trains on
    99 % of the training images and validates on the last 1 %. The official validation images, on
    which papers report accuracy, are the test split.
    """
    config = default_config()
    config.model.dtype = "bfloat16"
    config.data.source = "tfds:imagenet2012"
    config.data.train_split = "train[:99%]"
    config.data.validation_split = "train[99%:]"
    config.data.test_split = "validation"
    config.data.image_size = 224
    config.data.num_threads = 64
    config.data.mean = (123.675, 116.28, 103.53)
    config.data.std = (58.395, 57.12, 57.375)
    config.augment.crop_scale = (0.08, 1.0)
    config.train.log_every_steps = 50
    config.evaluation.batch_size = 1024
    config.evaluation.train_examples = 10240
    config.evaluation.every_epochs = 5
    config.evaluation.top_k = 5
    return config
