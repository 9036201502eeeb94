"""A lock that allows one training at a time in the folder of a run.

Only training takes the lock, so a run can be evaluated while it trains. On the disk, the lock is a
locked file, and in a bucket an object (`netzoo/workdir/bucket_lock.py`).
"""

from pathlib import Path
from typing import IO, TypeAlias

from netzoo.buckets import is_in_bucket
from netzoo.errors import UserError
from netzoo.lock import holder, try_lock
from netzoo.workdir import LOCK_FILE
from netzoo.workdir.bucket_lock import BucketLock, describe, lock_object

Lock: TypeAlias = IO[bytes] | BucketLock


def lock_run(workdir: Path) -> Lock | None:
    """Lock the folder of a run; return None if another process holds the lock.

    See `netzoo.lock.try_lock`, and `netzoo.workdir.bucket_lock.lock_object` for a bucket.
    """
    if is_in_bucket(workdir):
        return lock_object(workdir / LOCK_FILE)
    return try_lock(workdir / LOCK_FILE, "train in this folder with one process at a time")


def check_held(lock: Lock | None) -> None:
    """Raise a UserError if another process has taken a lock; nobody can take that of a file."""
    if isinstance(lock, BucketLock):
        lock.check()


def locked_error(workdir: Path) -> UserError:
    """Return the error for a run that another process has locked, with the holder's name."""
    path = workdir / LOCK_FILE
    name = describe(path) if is_in_bucket(workdir) else holder(path)
    return UserError(
        f"{workdir} is locked: {name} trains there. Wait for it, stop it, or give a new --workdir"
    )
