"""The folders in which a run may start or continue.

A run replaces and deletes files of its folder. It therefore starts only in an empty folder, and
continues only where its own checkpoints are.
"""

import os
import sys
from pathlib import Path

from netzoo.buckets import is_in_bucket
from netzoo.config import CONFIG_FILE
from netzoo.errors import UserError, printable
from netzoo.lock import is_lock
from netzoo.workdir import BEST, CHECKPOINTS, LOCK_FILE

# `checkpoints/` holds this file from the start of the run until its first checkpoint is complete. A
# run with neither this file nor a checkpoint has lost its checkpoints, e.g. on an unmounted disk.
FRESH_FILE = "no_checkpoint_yet"
# Orbax writes this object last into the folder of a step in a bucket.
COMPLETE_FILE = "commit_success.txt"
# What netzoo and Orbax write into the folder of a step.
_OF_A_STEP = {"state", "data", "metrics", "checksums.json", "_CHECKPOINT_METADATA", COMPLETE_FILE}
_LISTED = 3


def check_folder(workdir: Path) -> None:
    """Check that a run may start or continue in a folder, which need not exist.

    Raises:
      UserError: The folder holds files and no run; the checkpoints of its run are missing; or it
        has a folder that looks like a checkpoint and was not written by netzoo.
    """
    if not workdir.exists():
        return
    if not workdir.is_dir():
        raise UserError(f"--workdir {workdir} is a file; give a new folder")
    checkpoints = workdir / CHECKPOINTS
    fresh, steps = (checkpoints / FRESH_FILE).exists(), _complete_steps(checkpoints)
    if not (workdir / CONFIG_FILE).exists():
        others = _obstacles(workdir)
        if others and not fresh:
            more = ", ..." if len(others) > _LISTED else ""
            raise UserError(
                f"{workdir} holds no run of netzoo, but other files "
                f"({printable(', '.join(others[:_LISTED]))}{more}); give a new --workdir"
            )
    elif not steps and not fresh:
        raise UserError(
            f"the run in {workdir} has lost its checkpoints: {checkpoints} is "
            f"{'empty' if checkpoints.is_dir() else 'missing'}. If they are on another disk, mount "
            "it and run the same command again; to start over, give a new --workdir"
        )
    for step in (*_may_be_deleted(checkpoints), *_may_be_deleted(workdir / BEST)):
        try:
            names = {path.name for path in step.iterdir()}
        except FileNotFoundError:  # a run that trains here has deleted it
            continue
        if names and not names & _OF_A_STEP:
            raise UserError(
                f"{step} is not a checkpoint of netzoo; move it elsewhere, because a run would "
                "delete it as an old or incomplete checkpoint"
            )


def make_run_folder(workdir: Path) -> None:
    """Create the folder of a run unless it exists; a bucket has no folders."""
    if not is_in_bucket(workdir):
        workdir.mkdir(parents=True, exist_ok=True)


def has_begun(workdir: Path) -> bool:
    """Return whether a folder holds a run that has saved, or was saving, its first checkpoint.

    A run that ended before may start over with another configuration.
    """
    checkpoints = workdir / CHECKPOINTS
    fresh = (checkpoints / FRESH_FILE).exists() and not _complete_steps(checkpoints)
    return (workdir / CONFIG_FILE).exists() and not fresh


def _steps(folder: Path) -> list[Path]:
    """Return the folders that are named like a step."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()]


def _may_be_deleted(folder: Path) -> list[Path]:
    """Return the folders of steps; in a bucket, Orbax also deletes others that are not complete."""
    if is_in_bucket(folder) and folder.is_dir():
        return [path for path in folder.iterdir() if path.is_dir()]
    return _steps(folder)


def _complete_steps(folder: Path) -> list[Path]:
    """Return the folders of completely written steps."""
    steps = _steps(folder)  # on the disk, an incomplete step has another name
    if is_in_bucket(folder):
        return [step for step in steps if (step / COMPLETE_FILE).exists()]
    return steps


def _obstacles(workdir: Path) -> list[str]:
    """Return the names of the files beside which no run may start, in order."""
    if not is_in_bucket(workdir):
        return sorted(e.name for e in os.scandir(workdir) if not _is_no_obstacle(e))
    paths = (path for path in workdir.iterdir() if not path.name.startswith("."))
    return sorted(p.name for p in paths if p.name != LOCK_FILE or not is_lock(p))


def _is_no_obstacle(entry: os.DirEntry) -> bool:
    """Return whether a run may start beside a file.

    Such a file is hidden, belongs to the system, comes from a run that was killed at its very
    start, or receives the output of this process.
    """
    if entry.name == "lost+found" or entry.name.startswith("."):
        return True
    if entry.name == LOCK_FILE:
        return is_lock(Path(entry))
    if entry.name == CHECKPOINTS and entry.is_dir():
        return not os.listdir(entry)
    streams = (os.fstat(s.fileno()) for s in (sys.__stdout__, sys.__stderr__) if s is not None)
    status = entry.stat(follow_symlinks=False)
    return any(os.path.samestat(status, stream) for stream in streams)
