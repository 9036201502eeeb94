"""The metrics log: a resumed run leaves the same lines as an uninterrupted run."""

import errno
import json
import math
from pathlib import Path

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from netzoo.errors import UserError
from netzoo.workdir.metrics_log import MetricsWriter, read_metrics


def write_steps(writer, steps, clock=1.0):
    for step in steps:
        values = {"loss": 1 / step, "learning_rate": np.float32(0.1)}
        writer.write("train", step, step / 7, values, {"wall_seconds": clock * step})


def events(workdir):
    """Read all event files, oldest first: 8 bytes length, 4 check, the event, 4 check."""
    found = []
    for path in sorted((workdir / "tensorboard").iterdir(), key=lambda p: p.name.split(".")[-1]):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def test_a_line_is_on_disk_when_write_returns(tmp_path):
    """Protects the lines of a killed run, and their format."""
    writer = MetricsWriter(tmp_path, resume_step=None)
    writer.write("eval", 3, 0.5, {"validation_accuracy": 0.75}, {"wall_seconds": 2.0})
    text = (tmp_path / "metrics.jsonl").read_text()
    expected = (
        '{"kind": "eval", "step": 3, "epoch": 0.5, "validation_accuracy": 0.75, '
        '"timing": {"wall_seconds": 2.0}}\n'
    )
    assert text == expected
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.write("eval", 4, 0.5, {})


def test_a_resumed_log_equals_an_uninterrupted_one(tmp_path):
    """Protects exact resumption: a truncated line and lines after the checkpoint are removed."""
    with MetricsWriter(tmp_path / "whole", resume_step=None) as writer:
        write_steps(writer, range(1, 9))
    with MetricsWriter(tmp_path / "broken", resume_step=None) as writer:
        write_steps(writer, range(1, 7))
    path = tmp_path / "broken" / "metrics.jsonl"
    with path.open("a") as file:
        file.write('{"kind": "train", "st')
    with MetricsWriter(tmp_path / "broken", resume_step=4) as writer:
        write_steps(writer, range(5, 9))
    assert path.read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    assert sorted(p.name for p in path.parent.iterdir()) == ["metrics.jsonl", "tensorboard"]


def test_an_interrupted_evaluation_leaves_the_log(tmp_path):
    """Protects the log from the same evaluation twice: a run that repeats it removes the first."""
    with MetricsWriter(tmp_path, resume_step=None) as writer:
        for step in (1, 2):
            writer.write("train", step, step, {"loss": 0.5})
            writer.write("eval", step, step, {"accuracy": 0.5})
    for evaluated, kept in ((True, 4), (False, 3)):
        MetricsWriter(tmp_path, resume_step=2, evaluated=evaluated).close()
        lines = read_metrics(tmp_path / "metrics.jsonl")
        assert len(lines) == kept and lines[2]["kind"] == "train"


def test_everything_outside_timing_ignores_the_clock(tmp_path):
    """Protects comparisons of logs without "timing"."""
    logs = []
    for clock in (1.0, 2.0):
        with MetricsWriter(tmp_path / str(clock), resume_step=None) as writer:
            write_steps(writer, [1, 2], clock)
        logs.append(read_metrics(tmp_path / str(clock) / "metrics.jsonl"))
    assert logs[0] != logs[1]
    for log in logs:
        for line in log:
            del line["timing"]
    assert logs[0] == logs[1]


def test_a_new_run_starts_empty(tmp_path):
    """Protects the log from lines of an attempt before the first checkpoint.

    Event files of other programs stay.
    """
    other = tmp_path / "tensorboard" / "events.out.tfevents.1700000000.host.1.0"
    other.parent.mkdir()
    other.write_bytes(b"")
    for _ in range(2):
        with MetricsWriter(tmp_path, resume_step=None) as writer:
            write_steps(writer, [1, 2])
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]
    assert other.exists()
    assert len(list(other.parent.iterdir())) == 2


def test_resuming_without_a_log_starts_one(tmp_path):
    """Protects resuming without a log."""
    with MetricsWriter(tmp_path, resume_step=5) as writer:
        write_steps(writer, [6])
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [6]


def test_tensorboard_gets_the_numbers_and_forgets_purged_steps(tmp_path):
    """Protects the curves after a resume: TensorBoard drops steps from the purge on."""
    with MetricsWriter(tmp_path, resume_step=None) as writer:
        writer.write("eval", 2, 0.5, {"accuracy": 0.5, "weights": "ema"}, {"process": "a", "s": 3})
    with MetricsWriter(tmp_path, resume_step=1) as writer:
        writer.write("eval", 2, 0.5, {"accuracy": np.float32(0.25), "bad": math.nan})
    found = events(tmp_path)
    scalars = [(e.step, v.tag, v.simple_value) for e in found for v in e.summary.value]
    assert scalars == [(2, "eval/accuracy", 0.5), (2, "timing/s", 3), (2, "eval/accuracy", 0.25)]
    starts = [e.step for e in found if e.session_log.status == SessionLog.START]
    assert starts == [2]


def test_values_that_json_lacks(tmp_path):
    """Protects readers in other languages from NaN, and the log from array types."""
    values = {
        "nan": math.nan,
        "inf": [np.float32(np.inf), 1],
        "array": np.array(0.1, np.float32),
        "many": np.array([1, 2]),
        "nested": {"x": np.int64(3), "none": None},
    }
    with MetricsWriter(tmp_path, resume_step=None) as writer:
        writer.write("train", np.int64(1), np.float64(0.1), values)

    def refuse(name):
        raise AssertionError(name)

    text = (tmp_path / "metrics.jsonl").read_text()
    line = json.loads(text, parse_constant=refuse)
    assert line == {
        "kind": "train",
        "step": 1,
        "epoch": 0.1,
        "nan": None,
        "inf": [None, 1],
        "array": 0.10000000149011612,
        "many": [1, 2],
        "nested": {"x": 3, "none": None},
    }


def test_values_may_not_hide_the_line_itself(tmp_path):
    """Protects reserved names such as "step" from metrics."""
    with (
        MetricsWriter(tmp_path, resume_step=None) as writer,
        pytest.raises(ValueError, match="got \\['step'\\]"),
    ):
        writer.write("train", 1, 0.1, {"step": 3})


def test_reading_forgives_the_last_line_only(tmp_path):
    """Protects against ignoring damage in the middle of a log."""
    path = tmp_path / "metrics.jsonl"
    one, two = ({"kind": "train", "step": step, "epoch": step / 2} for step in (1, 2))
    path.write_text(f"{json.dumps(one)}\n{json.dumps(two)}")
    assert read_metrics(path) == [one, two]
    path.write_text(f'{json.dumps(one)}\n{{"ste')
    assert read_metrics(path) == [one]
    for line in ('{"ste', "[]", '{"kind": "train", "step": "2"}', '{"epoch": 1.0, "step": 2}'):
        path.write_text(f"{json.dumps(one)}\n{line}\n{json.dumps(two)}\n")
        with pytest.raises(UserError, match=r"metrics\.jsonl, line 2 is damaged"):
            read_metrics(path)
    path.write_text("")
    assert read_metrics(path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    """Protects the message for a full disk, which names the file."""
    with (
        pytest.raises(OSError, match=r"disk is full.*metrics\.jsonl") as caught,
        MetricsWriter(tmp_path, resume_step=None) as writer,
        open("/dev/full", "wb", buffering=0) as full,
    ):
        monkeypatch.setattr(writer, "_file", full)
        write_steps(writer, [1])
    assert caught.value.errno == errno.ENOSPC


def test_a_disk_that_fills_under_tensorboard_is_an_error_too(tmp_path, monkeypatch):
    """Protects against a run that hangs on a dead writer thread instead of stopping."""

    def full(event):
        raise OSError(errno.ENOSPC, "No space left on device")

    with MetricsWriter(tmp_path, resume_step=None) as writer:
        monkeypatch.setattr(writer._events._events, "write_event", full)
        with pytest.raises(OSError, match=r"disk is full.*tensorboard"):
            write_steps(writer, range(1, 50))
