"""The metrics log of a run: `metrics.jsonl` for programs, TensorBoard event files for people.

One line of `metrics.jsonl` is one JSON object:

    {"kind": "train", "step": 50, "epoch": 0.5, "loss": 1.2, ..., "timing": {"wall_seconds": 9.1}}

Everything outside "timing" depends on the run alone: a resumed run leaves the same bytes there as
an uninterrupted one. Whatever a clock measures belongs inside "timing".
"""

import contextlib
import errno
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from netzoo.errors import UserError
from netzoo.workdir import METRICS_FILE, TENSORBOARD

_OWN_KEYS = ("kind", "step", "epoch", "timing")


class MetricsWriter(contextlib.AbstractContextManager):
    """Appends to the metrics log; every line is on its way to the disk when `write` returns."""

    def __init__(self, workdir: Path, *, resume_step: int | None) -> None:
        """Opens the log of a run, whose folder is created if it is missing.

        A `resume_step` of None replaces an old log by an empty one. A step keeps the lines up to
        and including it and drops later ones, which the resumed run writes again.

        Raises:
          OSError: The folder cannot be written or its disk is full; names the file.
          UserError: A line of the existing log, other than a torn last one, is not JSON.
        """
        self._path, self._folder = workdir / METRICS_FILE, workdir / TENSORBOARD
        self._folder.mkdir(parents=True, exist_ok=True)
        if resume_step is None:
            # TensorBoard would draw the old run and the new one as a single zigzag.
            for old in self._folder.glob("events.out.tfevents.*"):
                old.unlink()
        elif self._path.exists():
            with _naming(self._path):
                _truncate(self._path, resume_step)
        # Unbuffered: after a failed write nothing is left behind to fail again on closing.
        self._file = self._path.open("wb" if resume_step is None else "ab", buffering=0)
        with _naming(self._folder):
            self._events = _open_events(self._folder, resume_step)

    def write(
        self,
        kind: str,
        step: int,
        epoch: float,
        values: Mapping[str, Any],
        timing: Mapping[str, Any] | None = None,
    ) -> None:
        """Appends one line, and its numbers to TensorBoard as `kind/name` and `timing/name`.

        `kind` is "train" or "eval". `values` are numbers, 0-d arrays, strings, or lists and
        dictionaries of them, all reproducible; NaN and infinity become null, which is all JSON has
        for them. `timing` is what a clock measured; None leaves it out.

        Raises:
          ValueError: The writer is closed, or a name in `values` is one of the line's own.
          OSError: The disk is full; names the file.
        """
        if taken := [name for name in values if name in _OWN_KEYS]:
            raise ValueError(f"values may not use the line's own names {_OWN_KEYS}: found {taken}")
        values, timing = _plain(values), _plain(timing)
        line = {"kind": kind, "step": int(step), "epoch": _plain(epoch), **values}
        if timing is not None:
            line["timing"] = timing
        data = json.dumps(line, allow_nan=False, ensure_ascii=False).encode() + b"\n"
        with _naming(self._path):
            while data:
                data = data[self._file.write(data) :]
        with _naming(self._folder):
            for group, numbers in ((kind, values), ("timing", timing or {})):
                for name, value in numbers.items():
                    if isinstance(value, int | float):
                        summary = scalar(f"{group}/{name}", value)
                        event = Event(wall_time=time.time(), step=int(step), summary=summary)
                        self._events.write_event(event)
            self._events.flush()

    def close(self) -> None:
        """Closes both files; a second call does nothing."""
        if not self._file.closed:
            self._file.close()
            with _naming(self._folder):
                self._events.close()

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Reads a `metrics.jsonl`, leaving out a last line that a kill cut short.

    Raises:
      FileNotFoundError: There is no such file.
      UserError: Another line is not JSON; names file and line.
    """
    records, lines = [], path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise UserError(
                    f"{path}, line {number} is not JSON: {line[:80]!r}. Mend or remove that line."
                ) from error
    return records


def _truncate(path: Path, last_step: int) -> None:
    """Keeps the lines up to `last_step`; the old file stays whole until the new one is."""
    kept = [record for record in read_metrics(path) if record["step"] <= last_step]
    partial = path.with_name(path.name + ".partial")
    # json reads and writes a float by its shortest exact form, so kept lines keep their bytes.
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in kept)
    with partial.open("wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _open_events(folder: Path, resume_step: int | None) -> EventsWriter:
    """Opens an event file that makes TensorBoard forget the steps after `resume_step`.

    tensorboardX's `SummaryWriter` does the same with a background thread. A full disk would end
    that thread, and the training would then wait for a full queue.
    """
    # The writer's default name changes once a second, and it overwrites.
    events = EventsWriter(str(folder / "events"), f".{time.time_ns()}")
    if resume_step is not None:
        purge = resume_step + 1
        events.write_event(Event(step=purge, file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        events.write_event(Event(step=purge, session_log=start))
    events.flush()
    return events


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Adds the file and advice to a bare "No space left on device"."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        advice = "the disk is full: free space, then resume the run from its last checkpoint"
        raise OSError(errno.ENOSPC, advice, str(path)) from error


def _plain(value: Any) -> Any:
    """Converts arrays and non-finite numbers to what JSON has."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
