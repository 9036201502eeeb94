"""Trains a network.

python train.py --config configs/mobilenet_v2.py --workdir runs/v2 [--config.train.epochs=30 ...]

The same command again continues a run that was stopped.
"""

from absl import flags
from ml_collections import config_flags

from netzoo.cli import launch

_CONFIG = config_flags.DEFINE_config_file("config", help_string="File of the experiment.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder that the run lives in.")
flags.mark_flags_as_required(["config", "workdir"])


def main() -> int | None:
    """Trains, or continues training."""
    from netzoo.training import train

    return train(_CONFIG.value, _WORKDIR.value)


if __name__ == "__main__":
    launch.run(main, many_processes=True)
