"""A lock that allows one training at a time in the folder of a run.

Only training takes the lock, so a run can be evaluated while it trains.
"""

from pathlib import Path
from typing import IO

from netzoo.errors import UserError
from netzoo.lock import holder, try_lock
from netzoo.workdir import LOCK_FILE


def lock_run(workdir: Path) -> IO[bytes] | None:
    """Lock the folder of a run; see `netzoo.lock.try_lock`."""
    return try_lock(workdir / LOCK_FILE, "train in this folder with one process at a time")


def locked_error(workdir: Path) -> UserError:
    """Return the error for a run that another process has locked, with the holder's name."""
    name = holder(workdir / LOCK_FILE)
    return UserError(
        f"{workdir} is locked: {name} trains there. Wait for it, stop it, or give a new --workdir"
    )
