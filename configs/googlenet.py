"""GoogLeNet with BatchNorm, from scratch on the real flowers.

    python train.py --config configs/googlenet.py --workdir runs/googlenet
    python eval.py --workdir runs/googlenet

Network, dropout and auxiliary classifiers of Szegedy et al. (arXiv:1409.4842); optimiser, schedule
and augmentation are those of configs/mobilenet_v2.py.
"""

from ml_collections import ConfigDict

from configs.flowers import from_scratch, set_model


def get_config() -> ConfigDict:
    """Returns the configuration."""
    config = from_scratch()
    set_model(config, "googlenet_bn", dropout_rate=0.4, auxiliary_weight=0.3)
    return config
