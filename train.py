"""Trains a network.

python train.py --config configs/mobilenet_v2.py --workdir runs/v2 [--config.train.epochs=30 ...]

The same command again continues a run that was stopped.
"""

from absl import flags
from ml_collections import ConfigDict

from netzoo.cli import launch

flags.DEFINE_string("config", None, "File of the experiment.", required=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder that the run lives in.", required=True)


def main(config: ConfigDict) -> int | None:
    """Trains, or continues training."""
    from netzoo.training import train

    return train(config, _WORKDIR.value)


if __name__ == "__main__":
    launch.run(main, many_processes=True)
