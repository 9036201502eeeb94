"""MobileNetV2 from scratch on tf_flowers.

python train.py --config configs/mobilenet_v2.py --workdir runs/v2
python eval.py --workdir runs/v2

The run recorded in results/mobilenet_v2 took 43 min 45 s on two CPU cores (AMD EPYC, busy with
other work), with seed 0. Its final averaged weights classify 87.87 % of the 734 test images
correctly (95 % interval 85.3 to 90.0). It trained on `train[:80%]` without a validation split
(configs/_flowers.py).
"""

from ml_collections import ConfigDict
from netzoo.configs._flowers import from_scratch


def get_config() -> ConfigDict:
    """Return the configuration."""
    config = from_scratch()
    config.model.update(name="mobilenet_v2", width_multiplier=1.0, dropout_rate=0.2)
    return config
