"""One training at a time in a run folder.

The kernel holds the lock for a process and releases it when that dies, however it dies. Only those
that write take it: a run can be evaluated while it trains.
"""

import fcntl
import os
import socket
from pathlib import Path

from netzoo.errors import UserError

LOCK_FILE = "lock"


class RunLock:
    """The lock of a run folder, free until `take` has returned True."""

    def __init__(self, workdir: Path):
        """Touches nothing; `workdir` has to exist when the lock is taken."""
        self._path = Path(workdir) / LOCK_FILE
        self._file = None

    def take(self) -> bool:
        """Takes the lock for this process and writes its name into the file.

        Returns:
          False where another process holds it. True also where the file system has no locks,
          after saying so.

        Raises:
          OSError: The folder cannot be written.
        """
        # Appending: what stands there is the holder's name until the lock is ours.
        file = self._path.open("a", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        except OSError as error:
            print(
                f"{self._path} cannot be locked ({error.strerror}): train in this folder with one "
                "process at a time",
                flush=True,
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        self._file = file
        return True

    def refusal(self) -> UserError:
        """Returns the error for who wanted the lock and did not get it; names the holder."""
        holder = self._path.read_text(encoding="utf-8").strip() or "another process"
        return UserError(
            f"{self._path.parent} is trained in by {holder}. Wait for it, stop it, or give a new "
            "--workdir."
        )

    def close(self) -> None:
        """Lets the lock go; the file stays, as others may be waiting to lock it."""
        if self._file is not None:
            self._file.close()
            self._file = None
