"""The embedded data set, learnt in minutes."""

from ml_collections import ConfigDict

from netzoo.config import default_config


def get_config() -> ConfigDict:
    """Returns the configuration."""
    config = default_config()
    with config.unlocked():
        config.model.update(name="mobilenet_v2", width_multiplier=0.5, dropout_rate=0.1)
    config.data.train_split = "train[:90%]"
    config.data.validation_split = "train[90%:]"
    config.data.test_split = "test"
    config.data.image_size = 64
    config.data.cache = "decoded"
    config.train.epochs = 10
    config.train.batch_size = 64
    config.optimizer.learning_rate = 2e-3
    config.schedule.warmup_epochs = 1.0
    config.evaluation.batch_size = 125
    return config
