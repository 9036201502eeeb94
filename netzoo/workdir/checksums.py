"""Checksums of the files of a checkpoint, because TensorStore reads altered data without an error.

The thread that writes the checkpoint adds them before the step's folder gets its final name.
Training does not wait for them.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from netzoo.files import check_regular, files_below, sha256_of, write_text
from netzoo.json_files import read_json
from netzoo.paths import run_path
from netzoo.workdir.folder import FRESH_FILE

CHECKSUMS_FILE = "checksums.json"


class Damaged(ValueError):
    """A file of a checkpoint is missing or altered."""


class _Checksums:
    """Adds the checksums to the folder of a step, before Orbax completes it."""

    get: Any  # these come from Orbax's class
    get_final: Any

    async def finalize(self) -> None:
        """Orbax calls this in one process for each complete folder: the items, then the step."""
        final = run_path(self.get_final())
        is_step = final.name.isdigit()
        if is_step:
            await asyncio.to_thread(write_checksums, run_path(self.get()))
        await super().finalize()  # type: ignore[misc]
        if is_step:
            (final.parent / FRESH_FILE).unlink(missing_ok=True)


class ChecksummedPath(_Checksums, ocp.path.atomicity.AtomicRenameTemporaryPath):
    """The temporary folder of a step or an item on the disk, before it gets its final name."""


class ChecksummedObjects(_Checksums, ocp.path.atomicity.CommitFileTemporaryPath):
    """The folder of a step or an item in a bucket, before the object that completes it exists."""


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of every file of a step's items (state, data, metrics).

    Files beside the items are Orbax's metadata, which may change until the end.
    """
    paths = [path for path in files_below(folder) if path.parent != folder]
    digests = {str(path.relative_to(folder)): sha256_of(path) for path in paths}
    write_text(folder / CHECKSUMS_FILE, json.dumps(digests, indent=1) + "\n")


def check_files(folder: Path) -> None:
    """Verify the checksums of a step; a step of an older version has none and passes.

    Raises:
      Damaged: A file is missing or altered; the message names it.
      OSError: A file cannot be read, or is a device or the like.
    """
    check_regular(folder)
    path = folder / CHECKSUMS_FILE
    if not path.exists():
        return
    for name, digest in read_json(path, {"*": str}).items():
        file = folder / name
        if not file.exists():
            raise Damaged(f"{name} is missing")
        if sha256_of(file) != digest:
            raise Damaged(f"{name} has been altered: its SHA-256 differs")
