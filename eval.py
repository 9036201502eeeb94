"""Evaluates a run on its test split, every example exactly once.

python eval.py --workdir runs/v2 [--checkpoint best] [--config.evaluation.batch_size=64 ...]
"""

from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from netzoo.cli import launch

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "last", ["last", "best", "average"], "Which weights.")


def main(config: ConfigDict) -> None:
    """Evaluates, and writes eval.json and figures into the run folder."""
    from netzoo.training.evaluate_run import evaluate_run

    evaluate_run(config, Path(_WORKDIR.value), _CHECKPOINT.value)


if __name__ == "__main__":
    launch.run(main, many_processes=True)
