"""Trains the runs of a sweep, each in its own process."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from netzoo.cli.sweep.runs import Sweep
from netzoo.config import CONFIG_FILE
from netzoo.console import json_text, say
from netzoo.errors import note
from netzoo.files import MAX_LOG, appending, read_bytes, write_text
from netzoo.json_files import read_json
from netzoo.training.signals import StopSignal

STATE_FILE = "sweep.json"
_STATE = {"finished": [str], "failed": {"*": str}}
_SHOWN = 200  # characters of the reason for a failure


class State(NamedTuple):
    """What has happened to the runs of a sweep."""

    finished: list[str]  # the names of runs
    failed: dict[str, str]  # reasons by name

    @classmethod
    def load(cls, workdir: Path) -> "State":
        """Read the state of the sweep in a folder, which may be new."""
        path = workdir / STATE_FILE
        given = read_json(path, _STATE) if path.exists() else {"finished": [], "failed": {}}
        return cls(given["finished"], given["failed"])

    def save(self, workdir: Path) -> None:
        """Write the state into the folder of the sweep."""
        write_text(workdir / STATE_FILE, json_text(self._asdict(), pretty=True) + "\n")

    def is_finished(self, name: str, workdir: Path) -> bool:
        """Return whether a run is complete and its folder still exists."""
        return name in self.finished and (workdir / name / CONFIG_FILE).exists()

    def note_end(self, name: str, reason: str | None, workdir: Path) -> None:
        """Save that a run is finished, or the reason of its failure."""
        self.failed.pop(name, None)
        if reason is None:
            self.finished.append(name)
        else:
            self.failed[name] = reason
        self.save(workdir)


class _Forwarding(StopSignal):
    """Passes signals on to the process of the current run, which then saves a checkpoint."""

    child: subprocess.Popen | None = None

    def handle(self, number: int, frame: object) -> None:
        if self.child:
            self.child.send_signal(number)
        super().handle(number, frame)


def train_runs(sweep: Sweep, workdir: Path) -> int:
    """Train or continue every run that is not finished, one after the other.

    A run that fails is recorded, and the next one starts. Repeating the call tries failed runs
    again.

    Returns:
      The exit status: 128 plus the signal number if a signal ended the sweep, after the current run
      has saved a checkpoint; else 1 if a run failed, else 0.
    """
    state = State.load(workdir)
    state.save(workdir)  # marks the folder of a sweep
    left = [run for run in sweep.runs if not state.is_finished(run.name, workdir)]
    total, began = len(sweep.runs), time.monotonic()
    say(f"{total} runs in {workdir}, {total - len(left)} of them finished")
    with _Forwarding() as stop:
        stop.listen(note)
        for number, run in enumerate(left, start=1):
            log = workdir / f"{run.name}.log"
            place = f"run {total - len(left) + number} of {total}, {run.name}"
            say(f"{place}: training; its output goes to {log}")
            folder = str(workdir / run.name)
            values = [f"--config.{key}={text}" for key, text in run.overrides.items()]
            reason = _train(["--config", sweep.config, "--workdir", folder, *values], log, stop)
            if stop.signal is not None:
                name = signal.Signals(stop.signal).name
                say(f"stopped by {name}. The same command continues.")
                return 128 + stop.signal
            state.note_end(run.name, reason, workdir)
            seconds = (time.monotonic() - began) / number * (len(left) - number)
            remaining = f"; about {timedelta(seconds=round(seconds))} left" * (number < len(left))
            say(f"{place}: {f'failed, {reason}' if reason else 'finished'}{remaining}")
    return int(any(run.name in state.failed for run in sweep.runs))


def _train(arguments: Sequence[str], log: Path, stop: _Forwarding) -> str | None:
    """Run `netzoo train` with its output appended to a log; return why it failed, or None."""
    command = [*launcher(), "train", *arguments]
    with appending(log) as file:
        start = os.fstat(file.fileno()).st_size
        file.write(f"$ netzoo {shlex.join(command[command.index('train') :])}\n".encode())
        file.flush()
        # In a group of its own, so that Ctrl-C reaches it only once, through `stop`.
        streams: Any = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": subprocess.STDOUT}
        with subprocess.Popen(command, **streams, process_group=0) as stop.child:
            if stop.signal is not None:  # it arrived before this process had the child
                stop.child.send_signal(stop.signal)
            status = stop.child.wait()
        stop.child = None
    if status == 0:
        return None
    lines = read_bytes(log, MAX_LOG)[start:].decode(errors="replace").splitlines()[1:]
    said = next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1:])
    ending = f"signal {-status}" if status < 0 else f"exit status {status}"
    return f"{ending}: {''.join(said)}"[:_SHOWN]


def launcher() -> list[str]:
    """Return the command `netzoo`, with the import path of this process."""
    has_folder = bool({"", os.getcwd()} & {*sys.path})
    return [sys.executable, *(() if has_folder else ("-P",)), "-m", "netzoo"]
