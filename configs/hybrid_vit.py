"""R+ViT-Ti/16, a Transformer on the stem of a ResNet, from scratch on the real flowers.

python train.py --config configs/hybrid_vit.py --workdir runs/hybrid_vit
python eval.py --workdir runs/hybrid_vit

At 128 pixels an image is 4 * 4 tokens. The recipe is that of `configs/vit.py`.
"""

from ml_collections import ConfigDict

from configs.flowers import from_scratch, set_model


def get_config() -> ConfigDict:
    """Returns the configuration."""
    config = from_scratch()
    set_model(config, "r_ti16", dropout_rate=0.0, stochastic_depth_rate=0.1)
    config.train.clip_norm = 1.0
    config.optimizer.learning_rate = 5e-4
    config.optimizer.weight_decay = 0.1
    config.optimizer.weight_decay_factors = ((r".*/kernel", 1.0), (r".*", 0.0))
    return config
