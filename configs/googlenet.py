"""GoogLeNet with BatchNorm from scratch on tf_flowers.

    python train.py --config configs/googlenet.py --workdir runs/googlenet
    python eval.py --workdir runs/googlenet

Apart from BatchNorm, the network, dropout and auxiliary classifiers are those of Szegedy et al.
(arXiv:1409.4842). Optimiser, schedule and augmentation are those of configs/mobilenet_v2.py.

The run recorded in results/googlenet took 10 min on two CPU cores (AMD EPYC), with seed 0,
`--config.train.epochs=4` and `--config.schedule.warmup_epochs=1.0`. Its final averaged weights
classify 69.1 % of the 734 test images correctly (95 % interval 65.6 to 72.3). It trained on
`train[:80%]` without a validation split (configs/_flowers.py).
"""

from ml_collections import ConfigDict
from netzoo.configs._flowers import from_scratch


def get_config() -> ConfigDict:
    """Return the configuration."""
    config = from_scratch()
    config.model.update(name="googlenet_bn", dropout_rate=0.4, auxiliary_weight=0.3)
    return config
