"""The metrics log of a run: `metrics.jsonl`, TensorBoard event files and further writers.

One line of `metrics.jsonl` is one JSON object:

    {"kind": "train", "step": 50, "epoch": 0.5, "loss": 1.2, ..., "timing": {"wall_seconds": 9.1}}

All measured times belong inside "timing". Everything else depends only on the run, and is byte for
byte the same in a continued and an uninterrupted run.

An object in a bucket cannot grow. For a run in a bucket, the writer therefore appends to files on
the disk, and `sync` copies them into the bucket.
"""

import contextlib
import errno
import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from netzoo.buckets import is_in_bucket
from netzoo.errors import UserError
from netzoo.files import (
    MAX_LOG,
    appending,
    files_below,
    make_folder,
    read_bytes,
    write_bytes,
    write_text,
)
from netzoo.json_files import check_shape, parse_json
from netzoo.workdir import EVENTS, METRICS_FILE, TENSORBOARD
from netzoo.workdir.lock import Lock, check_held
from netzoo.workdir.writers import Services

if TYPE_CHECKING:
    from netzoo.workdir.writers.tensorboard import TensorBoard

DEFAULT_WRITERS = ("jsonl", "tensorboard")
_LINE = {"kind": str, "step": int, "epoch": float, "timing?": {}}
_OWN_KEYS = ("kind", "step", "epoch", "timing")


class MetricsWriter(contextlib.AbstractContextManager):
    """Appends to the metrics log; `write` passes the line to the operating system at once.

    Attributes:
      path: The file that grows, `metrics.jsonl`.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        resume_step: int | None,
        evaluated: bool = True,
        lock: Lock | None = None,
        writers: Sequence[str] = DEFAULT_WRITERS,
        config: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Open the log of a run; create its folder if it is missing.

        If `resume_step` is None, an empty log replaces that of a run which ended before its first
        checkpoint. Otherwise lines after `resume_step` are removed, and the continued run writes
        them again. If not `evaluated`, the evaluation of `resume_step` is removed too. The line of
        an early stop at this step is always removed. Event files of other programs stay. `lock` is
        that of the run. `writers` (see `netzoo.workdir.writers`) get the numbers of every line too,
        and `config`, the configuration by key, when the run starts.

        Raises:
          OSError: The folder is not writable or the disk is full; the message names the file.
          UserError: A line of the existing log is not JSON, other than a truncated last line.
        """
        path, folder = workdir / METRICS_FILE, make_folder(workdir / TENSORBOARD)
        if resume_step is None:
            # TensorBoard would draw the old and the new run as one zigzag curve.
            for old in folder.glob(f"events.out.tfevents.*{EVENTS}*"):
                old.unlink()
            write_bytes(path, b"")
        elif path.exists():
            with _naming(path):
                _truncate(path, resume_step, evaluated)
        self._workdir, self._lock, self._closing = workdir, lock, contextlib.ExitStack()
        self.path, self._folder = path, folder
        if is_in_bucket(workdir):
            local = tempfile.TemporaryDirectory(prefix="netzoo-")
            self.path = Path(self._closing.enter_context(local)) / METRICS_FILE
            self._folder = make_folder(self.path.with_name(TENSORBOARD))
            if path.exists():
                write_bytes(self.path, read_bytes(path, MAX_LOG))
        # Unbuffered, so that closing after a failed write does not fail again.
        self._file = appending(self.path, buffering=0)
        self._events: TensorBoard | None = None
        if "tensorboard" in writers:
            from netzoo.workdir.writers import tensorboard

            with _naming(self._folder):
                self._events = tensorboard.TensorBoard(self._folder, resume_step, config)
        self._services = Services(writers, self.path.parent, config, resume_step is None)

    def write(
        self,
        kind: str,
        step: int,
        epoch: float,
        values: Mapping[str, Any],
        timing: Mapping[str, Any] | None = None,
    ) -> None:
        """Append a line, and add its numbers to TensorBoard as `kind/name` and `timing/name`.

        `kind` is "train", "eval", or "stop" for the end of a run that stops early. `values` are
        reproducible numbers, 0-d arrays, strings, or lists and dictionaries of them; NaN and
        infinity become null, as JSON requires. `timing` holds measured times; None omits it.

        Raises:
          ValueError: The writer is closed, or `values` uses a reserved name.
          OSError: The disk is full; the message names the file.
        """
        if taken := [name for name in values if name in _OWN_KEYS]:
            raise ValueError(f"expected names other than {_OWN_KEYS} in values, got {taken}")
        values, timing = _plain(values), _plain(timing)
        line = {"kind": kind, "step": int(step), "epoch": _plain(epoch), **values}
        if timing is not None:
            line["timing"] = timing
        data = json.dumps(line, allow_nan=False, ensure_ascii=False).encode() + b"\n"
        with _naming(self.path):
            while data:
                data = data[self._file.write(data) :]
        numbers = {
            f"{group}/{name}": value
            for group, found in ((kind, values), ("timing", timing or {}))
            for name, value in found.items()
            if isinstance(value, int | float)
        }
        if self._events:
            with _naming(self._folder):
                self._events.write(int(step), numbers)
        self._services.write(int(step), numbers)

    def sync(self) -> None:
        """Copy what has been written into the bucket of the run; on the disk, do nothing.

        Raises:
          UserError: The bucket cannot be written, or this process has lost the lock of the run.
        """
        check_held(self._lock)
        if is_in_bucket(self._workdir):
            for path in files_below(self.path.parent):
                name = path.relative_to(self.path.parent).as_posix()
                write_bytes(self._workdir / name, read_bytes(path, MAX_LOG))

    def close(self) -> None:
        """Close both files; further calls do nothing."""
        if not self._file.closed:
            with self._closing:
                self._file.close()
                self._services.close()
                if self._events:
                    with _naming(self._folder):
                        self._events.close()

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        """Copy and close the files; an error that has ended the run is the one to report."""
        with contextlib.closing(self), contextlib.suppress(*([UserError] if kind else [])):
            self.sync()


def read_metrics(
    path: Path, shape: Mapping[str, Any] = MappingProxyType({}), kind: str | None = None
) -> list[dict[str, Any]]:
    """Read the lines of a `metrics.jsonl`, ignoring a truncated last line.

    Args:
      path: The file.
      shape: Further values that each returned line must hold; see `netzoo.json_files`.
      kind: The kind of lines to return; None for all.

    Raises:
      FileNotFoundError: The file does not exist.
      UserError: Another line is not JSON or has another shape; the message names file and line.
    """
    records, lines = [], read_bytes(path, MAX_LOG).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = parse_json(line, _LINE)
            if kind in (None, record["kind"]):
                check_shape(record, dict(shape))
                records.append(record)
        except ValueError as error:
            if number < len(lines):
                raise UserError(
                    f"{path}, line {number} is damaged: {error}: {line[:80]!r}. Fix or remove it."
                ) from error
    return records


def training_seconds(lines: Iterable[Mapping[str, Any]]) -> float:
    """Return the training time over all sessions of a run, from its train lines.

    It excludes the time that a killed session spent after its last checkpoint, because a continued
    run removes the lines after that checkpoint.
    """
    # The clock of each session only increases, so keep its last value.
    timings = (line["timing"] for line in lines)
    return sum({timing["process"]: timing["wall_seconds"] for timing in timings}.values())


def _truncate(path: Path, last_step: int, evaluated: bool) -> None:
    """Remove the lines after `last_step` and a stop at this step, replacing the file atomically.

    If not `evaluated`, the evaluation of this step goes too.
    """
    kinds = ("train", "eval") if evaluated else ("train",)
    kept = [
        record
        for record in read_metrics(path)
        if record["step"] < last_step or (record["step"] == last_step and record["kind"] in kinds)
    ]
    # json writes the shortest exact form of floats, so kept lines keep their bytes.
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in kept)
    write_text(path, text)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Add the file name and advice to errors such as "No space left on device"."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        advice = "the disk is full: free space, then continue the run from its last checkpoint"
        raise OSError(errno.ENOSPC, advice, str(path)) from error


def _plain(value: Any) -> Any:
    """Convert arrays and non-finite numbers to JSON values."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
