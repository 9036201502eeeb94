"""Where faults are tried: a whole run to compare with, one that was stopped, small disks."""

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
    """One fault that was tried.

    Attributes:
      survived: Whether everything was as promised.
      lost: What was lost by it.
      details: What helps to see why, if it was not survived.
    """

    survived: bool
    lost: str
    details: str = ""


class Bench:
    """Makes the runs that faults are tried on.

    Attributes:
      cache: Compiled programs of all.
      whole: A run that nothing happened to.
    """

    def __init__(self, work: Path):
        """Trains the whole run and the stopped one."""
        self._work, self._numbers = work, itertools.count()
        work.mkdir(parents=True, exist_ok=True)
        self.cache, self.whole = work / "cache", work / "whole"
        self._stopped = work / "stopped"
        runs.finish(self.whole, self.cache).check_returncode()
        if not self._stopped.exists():
            runs.finish(self._stopped, self.cache, "sigterm,16")  # a checkpoint of 16 and of 17

    def folder(self, name: str) -> Path:
        """Returns a new folder, which is not there yet."""
        while (path := self._work / f"{name}{next(self._numbers)}").exists():
            pass
        return path

    def copy_of_stopped(self, to: Path | None = None) -> Path:
        """Copies a run that was stopped in the middle."""
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
        """Resumes a run to its end and compares it with the whole one.

        Args:
          workdir: The run.
          right: Whether what happened before was right.
          before: The process of which that is, for the details.
          says: What the resumed run has to print on standard error.
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
        """Mounts a file system of a few megabytes in memory.

        Raises:
          PermissionError: This process may not mount.
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
        """Makes a mounted disk read-only for a while."""
        _mount("-o", "remount,ro", disk)
        yield
        _mount("-o", "remount,rw", disk)


def _mount(*arguments: object) -> None:
    try:
        subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        raise PermissionError("mounting is not permitted here") from error
