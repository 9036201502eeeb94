r"""A MobileNet from scratch on tf_flowers at 160 pixels, for one GPU.

python train.py --config configs/flowers_160.py:mobilenet_v2 --workdir runs/flowers_160_v2
python -m benchmarks.training flowers_160:mobilenet_v1 flowers_160:mobilenet_v2 \
    flowers_160:mobilenet_v3 --seeds 0 1 2 --minutes 9 --workdir runs/flowers_160 --out results

Nobody has run this configuration. The recipe is that of the file with the network's name, but with
160 pixels, bfloat16, batches of 128 and 200 epochs. 80 % of the images are for training and 20 %
for the test, as in the records in results/. The tests only trace a step for an accelerator.

The learning rate is twice that of the recipe, whose batches are four times smaller. This is a
guess: try several rates on folds (`data.fold`) before a long run.
"""

from ml_collections import ConfigDict
from netzoo.configs import mobilenet_v1, mobilenet_v2, mobilenet_v3

NETWORKS = {
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3": mobilenet_v3,
}


def get_config(network: str = "mobilenet_v2") -> ConfigDict:
    """Return the configuration of a network of NETWORKS."""
    if network not in NETWORKS:
        raise ValueError(f"network {network!r}; expected {', '.join(NETWORKS)}")
    config = NETWORKS[network].get_config()
    config.model.dtype = "bfloat16"
    config.data.train_split, config.data.test_split = "train[:80%]", "train[80%:]"
    config.data.image_size = 160
    config.data.num_threads = 16

    config.train.epochs = 200
    config.train.batch_size = 128
    config.optimizer.learning_rate *= 2
    config.evaluation.batch_size = 128
    config.evaluation.every_epochs = 0
    return config
