"""One training at a time in a run folder.

The kernel holds the lock (`flock`) for a process and releases it when the process dies, however it
dies. Only training takes it: a run can be evaluated while it trains.
"""

import fcntl
import os
import socket
from pathlib import Path
from typing import TextIO

from netzoo.errors import UserError
from netzoo.workdir import LOCK_FILE


def lock_run(workdir: Path) -> TextIO | None:
    """Locks a run folder for this process and writes its name into the lock file.

    Returns:
      The lock file, which unlocks when it is closed, or None if another process holds the lock. On
      a file system without locks a warning is printed, and the file is returned.

    Raises:
      OSError: The folder cannot be written.
    """
    # Opened for appending: the file has the holder's name until the lock is ours.
    file = (workdir / LOCK_FILE).open("a", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError as error:
        advice = "train in this folder with one process at a time"
        print(f"{file.name} cannot be locked ({error.strerror}): {advice}", flush=True)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file


def locked_error(workdir: Path) -> UserError:
    """Returns the error for a run folder that another process has locked; names the holder."""
    holder = (workdir / LOCK_FILE).read_text(encoding="utf-8").strip() or "another process"
    return UserError(
        f"{workdir} is locked: {holder} trains there. Wait for it, stop it, or give a new --workdir"
    )
