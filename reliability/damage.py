"""Damages files of checkpoints, and checks whether reading notices it."""

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from netzoo.workdir.checkpoint import restore_variables
from netzoo.workdir.checksums import CHECKSUMS_FILE
from reliability import runs
from reliability.bench import Try

ARRAYS = "state/ocdbt.process_0/d/*"
# One of each kind in a step: arrays, their index and description, the position, the checksums.
FILES = (ARRAYS, "state/manifest.ocdbt", "state/_METADATA", "data/*.json", CHECKSUMS_FILE)


def largest(folder: Path, pattern: str) -> Path:
    """Return the largest file that matches the pattern."""
    return max(folder.glob(pattern), key=lambda path: path.stat().st_size)


def cut(path: Path, _number: int) -> None:
    """Cut off the second half of a file."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def flip(path: Path, number: int) -> None:
    """Flip a random bit of a file; `number` is the seed."""
    rng = np.random.default_rng(number)
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def fill(disk: Path, left: int) -> Path:
    """Fill a disk except for `left` bytes, and return the file that fills it."""
    path = disk / "ballast"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - left)
    return path


def read_after_flips(workdir: Path, times: int) -> Iterator[Try]:
    """Flip single bits of the array data, and read with and without checksums."""
    folder = workdir / "checkpoints" / str(runs.steps_in(workdir)[-1])
    path, checksums = largest(folder, ARRAYS), folder / CHECKSUMS_FILE
    sound = path.read_bytes(), checksums.read_text()
    unnoticed = 0
    for number in range(times):
        flip(path, number)
        noticed = _reads_older(workdir)
        checksums.unlink()
        unnoticed += not _reads_older(workdir)
        path.write_bytes(sound[0])
        checksums.write_text(sound[1])
        lost = f"without checksums, {unnoticed} of {times} are not noticed"
        yield Try(noticed, lost if number == times - 1 else "nothing", f"flip {number}")


def _reads_older(workdir: Path) -> bool:
    with contextlib.redirect_stderr(io.StringIO()):
        step, _, _ = restore_variables(workdir)
    return step != runs.steps_in(workdir)[-1]


def step_named(error: str) -> int:
    """Return the step that an error names, or -1."""
    found = re.search(r"error: step (\d+): loss", error)
    return int(found[1]) if found else -1


def all_finite(workdir: Path) -> bool:
    """Return whether the newest checkpoint has finite numbers only."""
    _, _, weights = restore_variables(workdir)
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(weights))
