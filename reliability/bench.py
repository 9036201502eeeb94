"""The runs and disks on which faults are tried."""

import contextlib
import itertools
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reliability import runs


@dataclass(frozen=True)
class Try:
    """The result of trying one fault.

    Attributes:
      survived: Whether everything was as promised.
      lost: What was lost.
      details: Outputs that help to find the reason, if it was not survived.
    """

    survived: bool
    lost: str
    details: str = ""


class Bench:
    """Makes the runs on which faults are tried.

    Attributes:
      cache: The folder of compiled programs, shared by all runs.
      whole: An undisturbed run.
    """

    def __init__(self, work: Path):
        """Train the undisturbed run and the stopped run."""
        self._work, self._numbers = work, itertools.count()
        work.mkdir(parents=True, exist_ok=True)
        self.cache, self.whole = work / "cache", work / "whole"
        self._stopped = work / "stopped"
        runs.finish(self.whole, self.cache).check_returncode()
        if not self._stopped.exists():
            runs.finish(self._stopped, self.cache, "sigterm,16")  # checkpoints of steps 16 and 17

    def folder(self, name: str) -> Path:
        """Return the path of a folder that does not exist yet."""
        while (path := self._work / f"{name}{next(self._numbers)}").exists():
            pass
        return path

    def copy_of_stopped(self, to: Path | None = None) -> Path:
        """Copy a run that was stopped in the middle."""
        to = to or self.folder("copy")
        shutil.copytree(self._stopped, to)
        return to

    def resumed(
        self,
        workdir: Path,
        right: bool = True,
        before: subprocess.CompletedProcess | None = None,
        says: str = "",
    ) -> Try:
        """Continue a run to its end and compare it with the undisturbed one.

        Args:
          workdir: The run.
          right: Whether the earlier process behaved as expected.
          before: The earlier process, for the details.
          says: Text that the continued run must print on standard error.
        """
        logged = runs.last_logged(workdir)
        done = runs.finish(workdir, self.cache)
        found = runs.differences(workdir, self.whole) if done.returncode == 0 else ["no end"]
        survived = right and not found and says in done.stderr
        if survived:
            shutil.rmtree(workdir)
        again = max(0, logged - runs.resumed_at(done.stdout))
        lost = f"{again} step{'s' * (again != 1)} done again" if again else "nothing"
        outputs = [
            f"status {process.returncode}: {process.stdout[-800:]} {process.stderr[-800:]}"
            for process in (before, done)
            if process
        ]
        return Try(survived, lost, " | ".join([f"right {right}, differs {found}", *outputs]))

    @contextlib.contextmanager
    def small_disk(self, megabytes: int = 64) -> Iterator[Path]:
        """Mount a file system of a few megabytes in memory.

        Raises:
          PermissionError: This process has no permission to mount.
        """
        folder = self.folder("disk")
        folder.mkdir()
        _mount("-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder)
        try:
            yield folder
        finally:
            subprocess.run(["umount", folder], check=True)

    @contextlib.contextmanager
    def read_only(self, disk: Path) -> Iterator[None]:
        """Make a mounted disk read-only for a while."""
        _mount("-o", "remount,ro", disk)
        yield
        _mount("-o", "remount,rw", disk)


def _mount(*arguments: object) -> None:
    try:
        subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        raise PermissionError("mounting is not permitted here") from error
