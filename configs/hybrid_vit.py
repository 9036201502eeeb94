"""R+ViT-Ti/16, a Transformer on the stem of a ResNet, from scratch on tf_flowers.

python train.py --config configs/hybrid_vit.py --workdir runs/hybrid_vit
python eval.py --workdir runs/hybrid_vit

At 128 pixels, an image is 4 * 4 tokens. Optimiser, augmentation and stochastic depth are those of
`configs/vit.py`; the run is shorter, with 60 epochs and a warm-up of 5.

The run recorded in results/hybrid_vit took 4 min for 6 epochs on two CPU cores (AMD EPYC), with
seed 0, `--config.train.epochs=6` and `--config.schedule.warmup_epochs=1.0`. Its final averaged
weights classify 55.2 % of the 734 test images correctly (95 % interval 51.6 to 58.7). It trained on
`train[:80%]` without a validation split (configs/_flowers.py).
"""

from ml_collections import ConfigDict
from netzoo.configs._flowers import from_scratch


def get_config() -> ConfigDict:
    """Return the configuration."""
    config = from_scratch()
    config.model.update(name="r_ti16", dropout_rate=0.0, drop_path_rate=0.1)
    config.train.clip_norm = 1.0
    config.optimizer.learning_rate = 5e-4
    config.optimizer.weight_decay = 0.1
    config.optimizer.weight_decay_mults = ((r".*/kernel", 1.0), (r".*", 0.0))
    return config
