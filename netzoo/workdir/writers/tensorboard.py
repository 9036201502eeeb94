"""Event files for TensorBoard: numbers, and the configuration as hyper-parameters."""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import hparams, scalar

from netzoo.files import filling
from netzoo.workdir import EVENTS


class TensorBoard:
    """A new event file, which makes TensorBoard discard the steps after `resume_step`.

    tensorboardX's `SummaryWriter` uses a background thread. A full disk would end this thread, and
    training would then block on a full queue.
    """

    def __init__(self, folder: Path, resume_step: int | None, config: Mapping[str, Any]):
        """Open the file, and write the configuration of a new run."""
        # The default name changes only once per second, and the writer overwrites files.
        self._events = EventsWriter(str(folder / "events"), f"{EVENTS}{time.time_ns()}")
        if resume_step is not None:
            purge = resume_step + 1
            self._events.write_event(Event(step=purge, file_version="brain.Event:2"))
            start = SessionLog(status=SessionLog.START)
            self._events.write_event(Event(step=purge, session_log=start))
        elif config:
            self._add(0, *hparams(_plain(config), {"eval/validation_loss": 0}))
        self._events.flush()

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Add numbers, and pass them to the operating system."""
        self._add(step, *(scalar(name, value) for name, value in numbers.items()))
        self._events.flush()

    def picture(self, step: int, name: str, png: bytes) -> None:
        """Add a PNG file."""
        width, height = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
        self._add(step, Summary(value=[Summary.Value(tag=name, image=image)]))
        self._events.flush()

    def close(self) -> None:
        """Close the file."""
        self._events.close()

    def _add(self, step: int, *summaries: Summary) -> None:
        for summary in summaries:
            self._events.write_event(Event(wall_time=time.time(), step=step, summary=summary))


def write_evaluation(
    folder: Path, step: int, numbers: Mapping[str, float], pictures: Mapping[str, bytes]
) -> None:
    """Replace the results of an evaluation in a folder.

    TensorBoard shows the folder as a separate run. `pictures` are PNG files.
    """
    with filling(folder) as place:
        for old in place.glob(f"events.out.tfevents.*{EVENTS}*"):
            old.unlink()
        with contextlib.closing(TensorBoard(place, None, {})) as events:
            events.write(step, numbers)
            for name, png in pictures.items():
                events.picture(step, name, png)


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Convert values to types that the plugin for hyper-parameters accepts."""
    known = str | bool | int | float
    return {key: value if isinstance(value, known) else str(value) for key, value in config.items()}
