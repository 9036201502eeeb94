"""What is kept of a run of image classification."""

from collections.abc import Mapping
from typing import Any

from netzoo.tasks.record import (
    MACHINE,
    PARAMETERS,
    RUN,
    TRAINING,
    Column,
    Record,
    count,
    throughput,
)


def _accuracy(record: Mapping[str, Any]) -> str:
    lower, upper = record["interval"]
    return f"{100 * record['accuracy']:.2f} ({100 * lower:.1f} to {100 * upper:.1f})"


RECORD = Record(
    throughput_unit="images",
    settings=("image_size",),
    scores={"accuracy": "accuracy", "num_examples": "count", "interval": "interval"},
    rank="accuracy",
    headline=lambda record: f"accuracy {100 * record['accuracy']:.2f} %",
    columns=(
        *RUN,
        Column("px", lambda record: record["image_size"]),
        *TRAINING,
        Column("accuracy, % (95 % interval)", _accuracy),
        count("images"),
        PARAMETERS,
        throughput("img/s", "images"),
        *MACHINE,
    ),
)
