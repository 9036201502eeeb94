"""Weights & Biases; WANDB_PROJECT, WANDB_MODE and other variables configure it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Wandb:
    """A run of wandb, which a continued run of netzoo resumes."""

    def __init__(self, workdir: Path, identity: str, config: Mapping[str, Any]):
        """Start or resume the run."""
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "netzoo"),
            name=workdir.name,
            id=identity,
            resume="allow",
            dir=str(workdir),
            config=dict(config),
            # Do not upload the output and the code of the run.
            settings=wandb.Settings(
                silent=True, console="off", disable_code=True, disable_git=True
            ),
        )

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Log numbers; wandb ignores the steps that a resumed run repeats."""
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        """Upload all remaining numbers."""
        self._run.finish()


open_writer = Wandb
