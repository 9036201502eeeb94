"""Checksums of the files of a checkpoint: TensorStore reads changed array data without an error.

They are written into the step's folder before it gets its final name, by the thread that writes the
checkpoint; the training does not wait for them.
"""

import asyncio
import hashlib
import json
from pathlib import Path

import orbax.checkpoint as ocp

CHECKSUMS_FILE = "checksums.json"


class ChecksummedPath(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """The temporary folder of a step, or of an item in it, that is about to get its final name."""

    async def finalize(self) -> None:
        """Called by one process, when the files of all are complete; items come before the step."""
        if self.get_final().name.isdigit():
            await asyncio.to_thread(write_checksums, Path(self.get()))
        await super().finalize()


def write_checksums(folder: Path) -> None:
    """Writes the SHA-256 of every file of the items of a step: state, data, metrics.

    Files beside the items are Orbax's own bookkeeping, which changes until the end.
    """
    paths = sorted(path for path in folder.glob("*/**/*") if path.is_file())
    digests = {str(path.relative_to(folder)): _digest(path) for path in paths}
    (folder / CHECKSUMS_FILE).write_text(json.dumps(digests, indent=1) + "\n")


def check_files(folder: Path) -> None:
    """Compares a step with its checksums; a step of an older version, without any, passes.

    Raises:
      ValueError: A file is missing or not what was written; names it.
      OSError: A file cannot be read.
    """
    path = folder / CHECKSUMS_FILE
    if not path.exists():
        return
    for name, digest in json.loads(path.read_text()).items():
        file = folder / name
        if not file.exists():
            raise ValueError(f"{name} is missing")
        if _digest(file) != digest:
            raise ValueError(f"{name} is not what was written: its SHA-256 differs")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
