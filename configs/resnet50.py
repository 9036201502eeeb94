"""ResNet-50 from scratch on tf_flowers.

python train.py --config configs/resnet50.py --workdir runs/resnet50
python eval.py --workdir runs/resnet50

Zero initialisation of the last BatchNorm scale in each residual branch, and the linear warm-up,
follow Goyal et al. (arXiv:1706.02677); the augmentation is that of configs/mobilenet_v2.py.

The run recorded in results/resnet50 took 11 min on two CPU cores (AMD EPYC), with seed 0,
`--config.data.image_size=64`, `--config.train.epochs=3` and `--config.schedule.warmup_epochs=1.0`.
Its final averaged weights classify 60.4 % of the 734 test images correctly (95 % interval 56.8 to
63.8). It trained on `train[:80%]` without a validation split (configs/_flowers.py).
"""

from ml_collections import ConfigDict
from netzoo.configs._flowers import from_scratch


def get_config() -> ConfigDict:
    """Return the configuration."""
    config = from_scratch()
    config.model.update(name="resnet50", zero_init_last_norm=True)
    config.data.image_size = 96
    config.optimizer.learning_rate = 1e-3
    return config
