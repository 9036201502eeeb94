"""MobileNet V1 from scratch on tf_flowers.

python train.py --config configs/mobilenet_v1.py --workdir runs/mobilenet_v1
python eval.py --workdir runs/mobilenet_v1

The recipe is that of `configs/mobilenet_v2.py`, which was chosen on held-out training images, with
TF-slim's dropout (keep probability 0.999) and, as in the paper (Howard et al., arXiv:1704.04861,
section 3.2), without weight decay on depthwise kernels.

The run recorded in results/mobilenet_v1 took 63 min 12 s for 60 epochs on two CPU cores (AMD EPYC,
busy with other work), with seed 0. Its final averaged weights classify 89.10 % of the 734 test
images correctly (95 % interval 86.6 to 91.2). It trained on `train[:80%]` without a validation
split (configs/_flowers.py).
"""

from ml_collections import ConfigDict
from netzoo.configs._flowers import from_scratch


def get_config() -> ConfigDict:
    """Return the configuration."""
    config = from_scratch()
    config.model.update(name="mobilenet_v1", width_multiplier=1.0, dropout_rate=0.001)
    config.optimizer.weight_decay_mults = (
        (r".*/(bias|scale)", 0.0),
        (r".*/depthwise/kernel", 0.0),
        (r".*", 1.0),
    )
    return config
