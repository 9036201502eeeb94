"""One-tower AlexNet from scratch on tf_flowers.

    python train.py --config configs/alexnet.py --workdir runs/alexnet
    python eval.py --workdir runs/alexnet

Dropout and flips are those of the paper (Krizhevsky et al. 2012, section 4). The crops are random
areas of at least a quarter of the image; the paper's are 224 of 256 pixels. The optimiser is AdamW,
which reached 55 % after five epochs on a held-out 10 % of the training images; the paper's SGD
(rate 0.01, momentum 0.9, weight decay 5e-4) reached 46 %. Gradients are clipped because the network
has no normalisation. The hidden layers are 1024 wide: at 4096 they would hold 54 of 57 M
parameters, and a checkpoint would take 0.9 GB. `--config.model.name=alexnet` with
`--config.model.hidden_features=4096` selects the paper's network.

The run recorded in results/alexnet took 4 min on two CPU cores (AMD EPYC), with seed 0,
`--config.train.epochs=8` and `--config.schedule.warmup_epochs=1.0`. Its final averaged weights
classify 69.2 % of the 734 test images correctly (95 % interval 65.8 to 72.4). It trained on
`train[:80%]` without a validation split (configs/_flowers.py), and from other initial values: the
network is now initialised like torchvision's.
"""

from ml_collections import ConfigDict
from netzoo.configs._flowers import from_scratch


def get_config() -> ConfigDict:
    """Return the configuration."""
    config = from_scratch()
    config.model.update(name="alexnet_owt", hidden_features=1024, dropout_rate=0.5)
    # The paper's augmentation is crops and flips.
    config.augment.randaugment_layers = 0
    config.augment.mixup = 0.0
    config.train.label_smoothing = 0.0
    config.train.clip_norm = 1.0
    config.optimizer.learning_rate = 3e-4
    config.schedule.warmup_epochs = 2.0
    return config
