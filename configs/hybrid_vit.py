"""R+ViT-Ti/16, a Transformer on the stem of a ResNet, from scratch on tf_flowers.

python train.py --config configs/hybrid_vit.py --workdir runs/hybrid_vit
python eval.py --workdir runs/hybrid_vit

At 128 pixels an image is 4 * 4 tokens. The recipe is that of `configs/vit.py`.

Measured so far on two CPU cores (AMD EPYC): 6 epochs, with `--config.train.epochs=6
--config.schedule.warmup_epochs=1.0`, in 4 min: 55.2 % of the 734 test images (95 % interval
51.6 to 58.7), final averaged weights, seed 0, trained on `train[:80%]` without a validation split
(configs/_flowers.py); results/hybrid_vit.
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
