"""Trackio, which keeps runs in a local folder (TRACKIO_DIR); `trackio show` opens them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Trackio:
    """A run of Trackio, which a continued run of netzoo resumes."""

    def __init__(self, workdir: Path, identity: str, config: Mapping[str, Any]):
        """Start or resume the run."""
        import trackio

        plain = {key: value if value is None else str(value) for key, value in config.items()}
        self._run = trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", "netzoo"),
            name=f"{workdir.name}-{identity}",
            config=plain,
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Log numbers."""
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        """Write all remaining numbers."""
        self._run.finish()


open_writer = Trackio
