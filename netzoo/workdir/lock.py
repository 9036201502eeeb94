"""A lock that allows one training at a time in the folder of a run.

The kernel holds the lock (`flock`) and releases it whenever the process ends. Only training takes
the lock, so a run can be evaluated while it trains.
"""

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from netzoo.errors import UserError, note
from netzoo.files import appending
from netzoo.workdir import LOCK_FILE


def lock_run(workdir: Path) -> IO[bytes] | None:
    """Lock the folder of a run and write this process's name into the lock file.

    Returns:
      The lock file, which unlocks when closed, or None if another process holds the lock. On a file
      system without locks, the function prints a warning and returns the file.

    Raises:
      OSError: The folder is not writable.
    """
    # Open for appending: the file names the holder until this process has the lock.
    file = appending(workdir / LOCK_FILE)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError as error:
        advice = "train in this folder with one process at a time"
        note(f"{file.name} cannot be locked ({error.strerror}): {advice}")
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    file.flush()
    return file


def locked_error(workdir: Path) -> UserError:
    """Return the error for a run that another process has locked, with the holder's name."""
    holder = (workdir / LOCK_FILE).read_text(encoding="utf-8").strip() or "another process"
    return UserError(
        f"{workdir} is locked: {holder} trains there. Wait for it, stop it, or give a new --workdir"
    )
